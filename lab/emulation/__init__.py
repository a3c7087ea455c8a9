"""An ONNX file computed with half-precision rounding after every node: session, operators."""
