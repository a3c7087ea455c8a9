"""CDA as Triton kernels, one source for three ways to run it: cda, tiles,
schedule, pytorch (runs it on tensors), dispatch (when PyTorch does), interpreted (on a CPU).
"""
