"""What is prepared before the first step: ready (data and its checks), start (first weights)."""
