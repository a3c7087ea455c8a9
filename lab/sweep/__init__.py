"""The cost of INT8, layer by layer: study (open, calibrate), trial (many variants on the same frames), sweep."""
