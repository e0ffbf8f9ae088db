"""`python -m seqsetvae`."""

from seqsetvae.cli import main

if __name__ == "__main__":
    main()
