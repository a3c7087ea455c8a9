"""FP16 and INT8, written into the graph: convert, half, widen, placement,
quantize, calibration, ranking, arguments.
"""
