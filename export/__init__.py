"""From a trained checkpoint to one ONNX file, from there to a TensorRT engine, and the proof that they agree."""
