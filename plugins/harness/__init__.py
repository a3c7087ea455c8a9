"""Drives the plugin without TensorRT and judges it without PyTorch, for ``mutualformer acceptance`` and tests.

numbers (the types), reference (the operator in NumPy, the two-times rule), harness (TensorRT's steps through
plugin_harness.cpp, which is built beside the plugin), engine (one node with its buffers).
"""
