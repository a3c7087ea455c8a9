"""Task metrics of any model: session (PyTorch models as any other), run, sod, saliency_scores, reid, corrupt, tables,
pictures, spread.
"""
