"""FP16 and INT8, written into the graph: convert, half, placement, quantize, calibration, ranking."""
