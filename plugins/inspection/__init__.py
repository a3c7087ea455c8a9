"""What the compiled kernels are made of: cubins, roofline, bench."""
