"""CDA as Triton kernels: one source, compiled ahead of time, jitted or interpreted.

In reading order: cda, tiles, schedule, pytorch (runs it on tensors), dispatch (decides when PyTorch does).
"""
