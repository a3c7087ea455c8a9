"""Data as training needs it beyond reading, which is in ``runtime/data``; importing this never imports torch."""
