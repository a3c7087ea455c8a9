"""Stand-ins for both sides of the plugin: what TensorRT does with it, and the CUDA driver it calls.

harness.cpp (TensorRT's steps) and driver*.cpp, cubin.cpp (libcuda.so.1 over host memory) are built beside the plugin;
simulator.py drives both from Python, buffers.py holds memory between guard bytes.
"""
