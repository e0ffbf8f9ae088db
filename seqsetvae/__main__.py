"""`python -m seqsetvae`."""

from seqsetvae.app.main import main

if __name__ == "__main__":
    main()
