"""How a model is fitted, in reading order.

options and config (what the user asks for), recipes, kinds (training data, and how a caller adds a kind of it),
preparation (data, first weights), schedule, batches, task and reid_task (a training step), losses, modules, validation,
curves, interruption, training (all of it).
"""
