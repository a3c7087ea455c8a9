"""``hf://USER/REPO[@REVISION][/FILE]``: a model file from the Hugging Face hub, by their own client, an extra.

Nothing of ours lives there: the file is a stranger's, loaded like any other file given by path.
"""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path, PurePosixPath

from mutualformer.runtime.files import sha256
from mutualformer.runtime.zoo.index import ModelNameError

SCHEME = "hf://"
SUFFIXES = (".onnx", ".engine", ".safetensors")


def split(address: str) -> tuple[str, str, str]:
    """``hf://USER/REPO[@REVISION][/FILE]`` → ("USER/REPO", "REVISION" or "", "FILE" or ""). Raises ModelNameError.

    A revision is a branch, a tag or, which alone stays the same, a commit.
    """
    parts = address.removeprefix(SCHEME).strip("/").split("/")
    name, at, revision = parts[1].partition("@") if len(parts) > 1 else ("", "", "")
    if not name or (at and not revision) or not all(parts) or ".." in parts:
        raise ModelNameError(f"{address}: expected hf://USER/REPO, with @REVISION and /FILE where they are known")
    return f"{parts[0]}/{name}", revision, "/".join(parts[2:])


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

    Says the sha256 of what came, for a log that tells which model it was.
    """
    repository, revision, file = split(address)
    which = {"revision": revision} if revision else {}
    if importlib.util.find_spec("huggingface_hub") is None:
        raise ModelNameError(f"{address} needs the package huggingface_hub: pip install 'mutualformer[hub]'")
    import huggingface_hub

    try:
        file = file or only_model(address, list(huggingface_hub.list_repo_files(repository, **which)))
        if PurePosixPath(file).suffix not in SUFFIXES:
            raise ModelNameError(f"{address}: the file ends in {PurePosixPath(file).suffix!r}, expected .onnx")
        path = Path(huggingface_hub.hf_hub_download(repository, file, **which))
        logging.getLogger("mutualformer").info("%s: %s, sha256 %s", address, file, sha256(path))
        return path
    except ModelNameError:
        raise
    except Exception as error:  # the client raises its own, requests', httpx' and the system's families
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ModelNameError(
            f"{address} cannot be downloaded ({type(error).__name__}: {first}); is there a network, and the repository?"
        ) from error
