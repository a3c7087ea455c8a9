"""What stands ready before the first step: ready (data and its checks), start (first weights, the teacher)."""
