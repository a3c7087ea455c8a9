"""The machine under test.

In reading order: outcome.py (PASS, FAIL, SKIP), driver.py (what the checks ask of CUDA), machine.py (the GPU and the
plugin), cases.py (which nodes are run), amount.py (how much of everything), node.py (one CDA node with its buffers),
subject.py (what compute-sanitizer watches).
"""
