"""MutualFormer on the edge: multi-modal perception that is provably the same model you trained.

The four stages are the packages ``plugins``, ``runtime``, ``train`` and ``export`` (in a checkout: links to the folders
of the same names). Dependencies point one way: plugins ← runtime ← train ← export.
"""

__version__ = "0.1.0"
