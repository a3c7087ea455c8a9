"""What launches the kernels: numerics (the two-times rule), portable, concurrency, graphs, jit, timing."""
