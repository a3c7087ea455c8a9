"""Task metrics of any model: run, sod, saliency_scores, reid, corrupt, tables, pictures, spread."""
