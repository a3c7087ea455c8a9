"""Two model files on the same frames: parity, sod, reid, result, report, charts, page."""
