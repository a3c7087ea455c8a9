"""Pictures in, pictures out: what ``mutualformer predict`` does, usable without it.

In reading order: ``result`` (one picture's answer and what can be made of it), ``single`` (``predict(model, …)``),
``saving`` (which files an answer becomes), ``sources`` (SOURCE on the command line → frames), ``work`` (one frame from
reading to files), ``journal`` (what is done already), ``run`` (thousands of frames on this machine), ``cluster`` (the
same through Ray), ``batch`` (all of it as one call), ``sheet`` (the contact sheet), ``identities``
(re-identification).
"""
