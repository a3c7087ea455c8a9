"""Task metrics of any model: sod, reid, corrupt, tables, pictures."""
