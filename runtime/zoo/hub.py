"""``hf://USER/REPO[@REVISION][/FILE]``: a model file from the Hugging Face hub, through their own client.

This project publishes nothing there: the file is treated like any other file given by path.
"""

from __future__ import annotations

import logging
from pathlib import Path, PurePosixPath

from mutualformer.extras import install
from mutualformer.runtime.files import sha256
from mutualformer.runtime.untrusted.foreign import reason
from mutualformer.runtime.zoo.index import ModelNameError

SCHEME = "hf://"
SUFFIXES = (".onnx", ".engine", ".safetensors")

# The card beside such a file, which is downloaded too: it holds the hash of the weights or the engine.
_BESIDE = {".safetensors": ".json", ".engine": ".engine.json"}


def split(address: str) -> tuple[str, str | None, str]:
    """``hf://USER/REPO[@REVISION][/FILE]`` → ("USER/REPO", revision or None, "FILE" or ""). Raises ModelNameError."""
    parts = address.removeprefix(SCHEME).strip("/").split("/")
    if len(parts) < 2 or not all(parts) or ".." in parts:
        raise ModelNameError(f"{address}: expected hf://USER/REPO or hf://USER/REPO/FILE")
    name, at, revision = parts[1].partition("@")
    if not name or (at and not revision):
        raise ModelNameError(f"{address}: expected hf://USER/REPO@REVISION, a branch, tag or commit")
    return f"{parts[0]}/{name}", revision or None, "/".join(parts[2:])


def only_model(address: str, names: list[str]) -> str:
    """The one .onnx file among a repository's files. Raises ModelNameError where there are none or several."""
    models = [name for name in names if PurePosixPath(name).suffix == ".onnx"]
    if len(models) == 1:
        return models[0]
    if models:
        raise ModelNameError(f"{address}: holds {len(models)} ONNX files, name one: {', '.join(models[:6])}")
    raise ModelNameError(f"{address}: holds no .onnx file")


def fetch(address: str) -> Path:
    """Download into the hub's own cache, or take it from there; returns the file. Raises ModelNameError.

    Logs the sha256 of the file, so that a log identifies the model.
    """
    repository, revision, file = split(address)
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise ModelNameError(f"{address} needs the package huggingface_hub: {install('hub')}") from error
    try:
        file = file or only_model(address, list(huggingface_hub.list_repo_files(repository, revision=revision)))
        suffix = PurePosixPath(file).suffix
        if suffix not in SUFFIXES:
            raise ModelNameError(f"{address}: the file ends in {suffix!r}, expected .onnx")
        if suffix in _BESIDE:
            huggingface_hub.hf_hub_download(repository, file.removesuffix(suffix) + _BESIDE[suffix], revision=revision)
        path = Path(huggingface_hub.hf_hub_download(repository, file, revision=revision))
        logging.getLogger("mutualformer").info("%s: %s, sha256 %s", address, file, sha256(path))
        return path
    except ModelNameError:
        raise
    except Exception as error:  # the client raises its own, requests', httpx' and the system's families
        raise ModelNameError(
            f"{address} cannot be downloaded ({reason(error)}); is there a network, and the repository?"
        ) from error
