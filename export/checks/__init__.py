"""The checks of ``mutualformer acceptance``: what the first owner of a GPU runs, and what CI runs without one.

In reading order: names.py, rig/ (the machine under test and what is run on it), numerics.py (the two-times rule), then
one file for each check of the table in runner.py: facts, images, portable, concurrency, graphs, jit, sessions, timing,
sanitizer, engines; report.py writes down how it went.
"""
