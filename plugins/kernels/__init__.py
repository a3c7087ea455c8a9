"""CDA as Triton kernels, one source for three ways to run it: tiles, cda, pytorch, interpreted."""
