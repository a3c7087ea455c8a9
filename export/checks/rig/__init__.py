"""The machine under test.

In reading order: outcome.py (PASS, FAIL, SKIP), driver.py (CUDA through ctypes), machine.py (a GPU, or the stand-in
driver), cases.py (which nodes are run), amount.py (how much of everything), node.py (one CDA node with its buffers on
that machine), faults.py (what can be planted to see a check fail), engine.py (a stand-in for TensorRT), subject.py
(what compute-sanitizer watches).
"""
