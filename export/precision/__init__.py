"""Numbers of fewer bits, written into the graph: convert, half, placement, quantize, calibration, ranking."""
