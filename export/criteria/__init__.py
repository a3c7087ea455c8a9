"""How two files are compared: frames (on which pictures), tensors (differences); budgets are in ``runtime/tasks.py``."""
