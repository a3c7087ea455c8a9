"""Models by name: what is shipped, where it lies, and that it is what it says it is.

In reading order: ``index`` (the shelf of shipped models and their hashes), ``hub`` (``hf://USER/REPO[@REVISION][/FILE]``),
``lookup`` (a name, a file or an address → a checked path → a session).
"""

from mutualformer.runtime.zoo.hub import SUFFIXES as SUFFIXES
from mutualformer.runtime.zoo.index import ModelNameError as ModelNameError
from mutualformer.runtime.zoo.index import ShippedModel as ShippedModel
from mutualformer.runtime.zoo.index import shelf as shelf
from mutualformer.runtime.zoo.index import shipped as shipped
from mutualformer.runtime.zoo.lookup import DEFAULT as DEFAULT
from mutualformer.runtime.zoo.lookup import HELP as HELP
from mutualformer.runtime.zoo.lookup import load as load
from mutualformer.runtime.zoo.lookup import resolve as resolve
from mutualformer.runtime.zoo.lookup import weights as weights
