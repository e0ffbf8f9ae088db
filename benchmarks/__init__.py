"""Benchmarks behind every figure in the README: `seqsetvae bench`, ratios measured in one run."""
