"""Datasets: one file each; reading them never imports torch."""
