"""The machine under test.

In reading order: outcome (PASS, FAIL, SKIP), driver (CUDA calls of the checks), machine (the GPU and the plugin),
cases (which nodes run), amount (how much work each check does), node (one CDA node with its buffers), subject (the
program that compute-sanitizer watches).
"""
