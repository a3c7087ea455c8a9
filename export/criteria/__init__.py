"""How two files are compared: frames (on which pictures), tensors (differences). Budgets: ``runtime/tasks.py``."""
