"""Two model files on the same frames: budgets, tensors, sod, reid, result, report, charts."""
