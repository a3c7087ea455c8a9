"""From a trained checkpoint to one ONNX file, from there to a TensorRT engine, and the proof that they agree."""

import os

# Threads that spin at barriers starve whoever shares the cores; must be said before PyTorch starts OpenMP.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
