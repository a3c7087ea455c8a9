"""Find and open a model: a name, a file or an address → a checked path → a session. Every verb uses it."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from mutualformer.runtime.contract import NAME
from mutualformer.runtime.zoo import hub
from mutualformer.runtime.zoo.index import ModelNameError, ShippedModel, checked, shelf, shipped

if TYPE_CHECKING:
    from mutualformer.runtime.session import Device, Session

DEFAULT = "sod-lite"
HELP = (
    "a shipped model's name (`mutualformer models`), a run's folder, a file (.onnx, .engine, .safetensors) or "
    "hf://USER/REPO[@REVISION][/FILE]"
)
TRAINED = "model.safetensors"  # a finished run's weights, in its folder


def resolve(model: str | Path) -> Path:
    """The file of ``model``: a path as it is, a run's folder as the weights in it, a shipped model with its hash
    checked, a hub's file downloaded.

    A path that does not exist is returned as it is; loading it then fails. Raises ModelNameError.
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
        return _inside(path)
    entry = shipped(text)
    if entry is not None:
        return entry
    if path.is_dir():
        return _inside(path)
    raise _unknown(text)


def _inside(path: Path) -> Path:
    """The model of a run's folder: its weights, or else its only ONNX file. Any other path is returned as it is."""
    if not path.is_dir():
        return path
    if (path / TRAINED).is_file():
        return path / TRAINED
    files = sorted(path.glob("*.onnx"))
    if len(files) == 1:
        return files[0]
    raise ModelNameError(
        f"{path}: the folder holds {len(files) or 'no'} ONNX file{'s' * (len(files) != 1)} and no {TRAINED}, which a "
        "finished `mutualformer fit` leaves there; name the file"
    )


def weights(model: str | Path) -> Path:
    """The safetensors file of ``model``, to start a training from: of a shipped one checked. Raises ModelNameError."""
    entry = shipped(str(model))
    if entry is not None and not entry.weights:
        raise ModelNameError(f"{model} ships no weights to start a training from, only {entry.file}")
    if entry is not None and not Path(model).is_file():
        path = entry.folder / entry.weights
        if not path.is_file():
            raise ModelNameError(
                f"{model}: the weights to start a training from ({entry.weights}) are not in the wheel; run from a "
                "checkout of the project, or set MUTUALFORMER_MODELS to the folder mutualformer/models of one"
            )
        return checked(path, entry.weights_sha256)
    path = resolve(model)
    if path.suffix != ".safetensors":
        raise ModelNameError(f"{path}: training starts from weights (.safetensors), and this file has none to change")
    return path


def list_models() -> list[str]:
    """Names of the shipped models, smallest first.

    >>> list_models()
    ['sod-nano', 'sod-lite', 'reid-lite']
    """
    return [entry.name for entry in sorted(shelf(), key=lambda entry: entry.bytes)]


def load(model: str | Path = DEFAULT, device: Device = "auto", threads: int = 0) -> Session:
    """Open any model: a shipped one's name, a run's folder, a file or ``hf://USER/REPO[@REVISION][/FILE]``.

    ``device``: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1", or ONNX Runtime's execution providers in
    order: ``["CPUExecutionProvider"]``. ``threads``: of the processor, 0 = all that this process may use. Use it in a
    ``with`` statement, or ``close()`` it, where memory counts.

    >>> load("sod-nano", device="cpu")
    <sod-nano fp16, 320×320, cpu>

    Raises ModelError: the name is unknown, the file is missing or corrupt, there is no such device.
    """
    from mutualformer.runtime import session

    found = _find(model)
    if isinstance(found, Path):
        return session.load(found, device=device, threads=threads)
    if not found.path.is_file():
        checked(found.path, found.sha256)  # raises
    # The session hashes the very bytes that it then runs, so the file is not hashed here.
    return session.load(found.path, device=device, threads=threads, sha256=found.sha256)


def _unknown(name: str) -> ModelNameError:
    names = [entry.name for entry in shelf()]
    if not names:
        return ModelNameError(
            f"no model called {name!r}: this installation ships none yet; give --model FILE (.onnx or .engine), "
            "which `mutualformer fit` and `mutualformer to_onnx` make"
        )
    hint = "".join(f"did you mean {close}? " for close in difflib.get_close_matches(name, names, 1))
    return ModelNameError(f"no model called {name!r}: {hint}shipped are {', '.join(names)}; or give a file")
