"""Exact folds for engines: wiring, plain_means, depth_statistics, convolutions, channel_sums,
products, halves, folding.
"""
