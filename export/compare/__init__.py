"""Two model files on the same frames: budgets, torch_session, tensors, sod, reid, result, report, charts."""
