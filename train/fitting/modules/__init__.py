"""What is put into a model while it trains and taken out afterwards: pointwise, sync_norm."""
