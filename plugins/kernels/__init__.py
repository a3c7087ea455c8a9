"""CDA as Triton kernels, one source for three ways to run it.

In reading order: cda, tiles, schedule, pytorch (runs it on tensors), dispatch (when PyTorch does), interpreted (on a
CPU).
"""
