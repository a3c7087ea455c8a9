"""PyTorch: Cross-Diffusion Attention, the MutualFormer block, the task models, their data and training."""

import os

# Threads that spin at barriers starve other programs on the cores; must be set before PyTorch starts OpenMP.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
