"""What goes wrong on the way from a checkpoint to an engine."""

from __future__ import annotations

from mutualformer.errors import BuildError


class ExportError(BuildError, RuntimeError):
    """A conversion cannot be done: names the file or tensor, what was found, what was expected and what to do."""
