"""The ONNX graph: trace, tidy, cda_function."""
