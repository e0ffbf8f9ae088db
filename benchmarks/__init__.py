"""Benchmarks behind every figure in docs/speed.md and docs/evaluate.md: `seqsetvae bench`, ratios measured in one run."""
