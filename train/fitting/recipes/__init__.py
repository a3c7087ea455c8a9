"""Named training recipes: everything about a run that is not the model or the data.

A recipe is a TOML file. Reading order: recipe (what one holds) → reading (files and ``--set`` to recipes, and back) →
``*.toml`` (the shipped ones).
"""

from mutualformer.train.fitting.recipes.reading import names, recipe
from mutualformer.train.fitting.recipes.recipe import Losses, Recipe, limited

__all__ = ["Losses", "Recipe", "limited", "names", "recipe"]
