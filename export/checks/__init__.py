"""The checks of ``mutualformer acceptance``.

In reading order: names (their table), rig/ (the machine under test and what runs on it), one file for each check
(facts, images, launches/, sanitizer, engines), runner (a process for each), report (prints and writes the outcomes).
"""
