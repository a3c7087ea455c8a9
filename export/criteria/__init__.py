"""What two files are compared by: frames (on which pictures), tensors (differences), budgets (how much is allowed)."""
