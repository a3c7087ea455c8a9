"""PyTorch: Cross-Diffusion Attention, the MutualFormer block, the task models, their data and training."""
