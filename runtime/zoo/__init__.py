"""Models by name: what is shipped, where it lies, and that it is what it says it is.

In reading order: ``index`` (the shelf of shipped models and their hashes), ``hub`` (``hf://USER/REPO[@REVISION][/FILE]``),
``lookup`` (a name, a file or an address → a checked path → a session).
"""

from mutualformer.runtime.zoo.hub import SUFFIXES
from mutualformer.runtime.zoo.index import ModelNameError, ShippedModel, shelf, shipped
from mutualformer.runtime.zoo.lookup import DEFAULT, HELP, load, resolve, weights

__all__ = [
    "DEFAULT",
    "HELP",
    "SUFFIXES",
    "ModelNameError",
    "ShippedModel",
    "load",
    "resolve",
    "shelf",
    "shipped",
    "weights",
]
