"""How a model is fitted, in reading order.

options and config (what was asked for), recipes, preparation (data, first weights), schedule, batches, task and
reid_task (a training step), losses, teacher, modules, validation, interruption, training (all of it).
"""
