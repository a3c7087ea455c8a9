"""Cross-Diffusion Attention as GPU kernels and as a TensorRT plugin."""
