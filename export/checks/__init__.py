"""The checks of ``mutualformer acceptance``: what the first owner of a GPU runs, and what CI runs without one.

In reading order: names.py, outcome.py (PASS, FAIL, SKIP), rig/ (the machine under test: its driver, one CDA node,
planted faults), cases.py and numerics.py (what is run, the two-times rule), then one file for each check of the table
in runner.py: facts, images, portable, concurrency, graphs, jit, sessions, timing, sanitizer, engines; report.py
writes down how it went; pack.py makes the archive that carries all of it to a machine without network.
"""
