"""Numbers of fewer bits, written into the graph: convert, half, quantize, calibration."""
