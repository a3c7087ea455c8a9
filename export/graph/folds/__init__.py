"""Exact folds for engines: wiring, plain_means, depth_statistics, convolutions, products, halves, folding."""
