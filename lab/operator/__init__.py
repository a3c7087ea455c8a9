"""The operator on a CPU.

released (the N³ form), forms (what is compared), graphs (more forms as ONNX), study (times, memory, growth, chart).
"""
