"""Two model files on the same frames: parity, maps, features, result, report, page."""
