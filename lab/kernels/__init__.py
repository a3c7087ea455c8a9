"""The compiled kernels, instruction by instruction: sass."""
