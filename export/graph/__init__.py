"""The ONNX graph: trace, from_checkpoint, onnx_file, values, tidy, cda_function, node_types; folds (for engines)."""
