"""How a model is fitted, in reading order.

recipes, config, schedule, batches, augment, reid_batches, task, reid_task, losses, sync_norm, pointwise.
"""
