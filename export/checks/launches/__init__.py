"""Checks that launch the kernels: numerics (the two-times rule), portable, concurrency, graphs, jit, timing."""
