"""A name, a file or an address → a checked path → a session: the one way every verb opens a model."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from mutualformer.runtime.zoo import hub
from mutualformer.runtime.zoo.index import NAME, ModelNameError, ShippedModel, checked, missing, shelf, shipped

if TYPE_CHECKING:
    from mutualformer.runtime.session import Session

DEFAULT = "sod-lite"
HELP = "a shipped model's name (`mutualformer models`), a file (.onnx, .engine, .safetensors) or hf://USER/REPO[@REVISION][/FILE]"


def resolve(model: str | Path) -> Path:
    """The file of ``model``: a path as it is, a shipped model with its hash checked, a hub's file downloaded.

    Raises ModelNameError. What only looks like a path is returned as one; loading it says when it does not exist.
    """
    found = _find(model)
    return checked(found.path, found.sha256) if isinstance(found, ShippedModel) else found


def _find(model: str | Path) -> ShippedModel | Path:
    """The shipped model of that name, or a path. Raises ModelNameError."""
    text = str(model)
    if text.startswith(hub.SCHEME):
        return hub.fetch(text)
    path = Path(model)
    if isinstance(model, Path) or path.suffix in hub.SUFFIXES or path.is_file() or not NAME.fullmatch(text):
        return path
    entry = shipped(text)
    if entry is None:
        raise _unknown(text)
    return entry


def weights(name: str) -> Path:
    """The checked safetensors file of a shipped model, to start a training from. Raises ModelNameError."""
    entry = shipped(name)
    if entry is None:
        raise _unknown(name)
    if not entry.weights:
        raise ModelNameError(f"{name} ships no weights to start a training from, only {entry.file}")
    return checked(entry.folder / entry.weights, entry.weights_sha256)


def load(model: str | Path = DEFAULT, device: str = "auto", threads: int = 0) -> Session:
    """Open any model. ``device``: auto, cpu or cuda. ``threads``: of ONNX Runtime, 0 = all this process may use.

    Raises ModelNameError, and ModelFileError as :func:`mutualformer.runtime.session.load` does.
    """
    from mutualformer.runtime import session

    found = _find(model)
    if isinstance(found, Path):
        return session.load(found, device=device, threads=threads)
    if not found.path.is_file():
        raise missing(found.path)
    return session.load(found.path, device=device, threads=threads, sha256=found.sha256)  # of the bytes that then run


def _unknown(name: str) -> ModelNameError:
    names = [entry.name for entry in shelf()]
    if not names:
        return ModelNameError(
            f"no model called {name!r}: this installation ships none yet; give --model FILE (.onnx or .engine), "
            "which `mutualformer fit` and `mutualformer to_onnx` make"
        )
    close = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {close[0]}? " if close else ""
    return ModelNameError(f"no model called {name!r}: {hint}shipped are {', '.join(names)}; or give a file")
