"""The errors of this package: one base class, and one class for each kind of cause.

    try:
        mutualformer.predict("sod-lite", picture)
    except mutualformer.Error as error:
        print(error)

Each message is one sentence: what was found, what was expected, what to do. The classes are ValueError or RuntimeError
as well. All stages raise these, so the module lies beside them.
"""

from __future__ import annotations


class Error(Exception):
    """Anything that a user can correct; any other exception is a fault of the program."""


class InputError(Error, ValueError):
    """An argument is invalid: an array, a tensor, an option."""


class DataError(Error, ValueError):
    """A file, folder or recording is missing, corrupt or cannot be read."""


class CameraError(DataError):
    """A live source cannot be opened, was lost or does not answer."""


class ModelError(Error):
    """A model cannot be found, read or run: its name, its file, its metadata, its answer."""


class BuildError(Error):
    """Making something failed: a training, an export, an engine, the plugin."""
