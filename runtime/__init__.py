"""What runs on the device: load a model file, feed it camera frames, watch it.

Imports neither torch nor train nor export.
"""
