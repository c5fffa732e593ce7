"""Benchmarks: ratios against hand-written loops in the same process; ``python -m benchmarks`` prints the table."""
