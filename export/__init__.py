"""From a trained checkpoint to one ONNX file, from there to a TensorRT engine, and the proof that they agree."""

import os

# Threads that spin at barriers slow down other processes on the cores. PyTorch reads this when it starts OpenMP.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
