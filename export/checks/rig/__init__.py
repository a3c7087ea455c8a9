"""The machine under test.

In reading order: driver.py (CUDA through ctypes), machine.py (a GPU, or the stand-in driver), node.py (one CDA node
with its buffers on that machine), faults.py (what can be planted to see a check fail), engine.py (a stand-in for
TensorRT), subject.py (what compute-sanitizer watches), amount.py (how much of everything).
"""
