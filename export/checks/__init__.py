"""The checks of ``mutualformer acceptance``: what the first owner of a GPU runs, and what CI runs without one.

In reading order: names.py, rig/ (the machine under test and what is run on it), then one file for each check of the
table in runner.py: facts, images, launches/ (what runs the kernels), sessions, sanitizer, engines; report.py writes
down how it went.
"""
