"""The checks of ``mutualformer acceptance``: what the first owner of a GPU runs.

In reading order: names.py, rig/ (the machine under test and what is run on it), then one file for each check of the
table in runner.py: facts, images, launches/ (what runs the kernels), sanitizer, engines with sessions; report.py writes
down how it went.
"""
