"""The plugin driven without TensorRT, and judged without PyTorch: what ``mutualformer acceptance`` runs it with.

numbers (the types), reference (the operator in NumPy, the two-times rule), harness (TensorRT's steps through
plugin_harness.cpp, which is built beside the plugin), engine (one node with its buffers).
"""
