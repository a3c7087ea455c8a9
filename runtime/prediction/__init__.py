"""Predict pictures: what ``mutualformer predict`` does, usable without the command line.

In reading order: ``result`` (one picture's answer), ``accepted`` and ``single`` (``mutualformer.predict``), ``look``,
``saving`` and ``output`` (which files an answer becomes), ``work`` (one batch from reading to files), ``journal`` (what
is done already), ``run`` (thousands of frames on this machine), ``cluster`` (the same through Ray), ``identities``
(re-identification), ``batch`` (all of it as one request).
"""
