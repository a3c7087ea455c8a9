"""Data as training needs it beyond reading, which is in ``runtime/sources``; importing this never imports torch.

In reading order: augment (one frame, many views), compositing (training frames made of real photographs), check (what
is wrong with a set).
"""
