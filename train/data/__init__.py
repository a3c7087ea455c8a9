"""Training data beyond reading, which is in ``runtime/sources``; importing this never imports torch.

In reading order: augment (one frame, many views), check (what is wrong with a set).
"""
