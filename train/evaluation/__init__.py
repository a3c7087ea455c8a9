"""Task metrics of any model: session (PyTorch models as any other), scoring, maps, saliency_scores, features, corrupt,
seen, tables.
"""
