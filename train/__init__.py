"""PyTorch: Cross-Diffusion Attention, the MutualFormer block, the task models, their data and training."""

import os

# Threads that spin at barriers starve whoever shares the cores; must be said before PyTorch starts OpenMP.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
