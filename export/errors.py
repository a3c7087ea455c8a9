"""The error of every export."""

from __future__ import annotations

from mutualformer.errors import BuildError


class ExportError(BuildError, RuntimeError):
    """A conversion cannot be done: the message names the file or tensor, what was found and expected, and a remedy."""
