"""What this package raises on purpose: one class for all, and one for each kind of thing that can be wrong.

    try:
        mutualformer.predict("sod-lite", picture)
    except mutualformer.Error as error:
        print(error)

Each message is one sentence: what was found, what was expected, what to do. The classes are ValueError or RuntimeError
as well. It lies beside the stages, because all of them raise these.
"""

from __future__ import annotations


class Error(Exception):
    """Anything that a user can mend; whatever else is raised is a fault of the program."""


class InputError(Error, ValueError):
    """What was handed in does not fit: an array, a tensor, an option."""


class DataError(Error, ValueError):
    """A file, folder or recording is missing, corrupt or cannot be read."""


class CameraError(DataError):
    """A live source cannot be opened, was lost or does not answer."""


class ModelError(Error):
    """A model cannot be had, read or run: its name, its file, its metadata, its answer."""


class BuildError(Error):
    """Something that was to be made was not: a training, an export, an engine, the plugin."""
