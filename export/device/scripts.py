"""The scripts, unit and README of a bundle: files of ``scripts/``, and the variables that they read.

The scripts are the same in every bundle; only ``target.env``, which they read, differs.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from importlib import resources

from mutualformer.export.engine.targets import Target
from mutualformer.runtime.sources import udev

PACKAGE = "mutualformer.export.device"
_STATIC = ("build.sh", "run.sh", "mutualformer.service", "Dockerfile")
_README = "README.txt"


def resource(folder: str, name: str) -> bytes:
    """A file that ships inside ``export/device``."""
    return (resources.files(PACKAGE) / folder / name).read_bytes()


def default_precision(precisions: Sequence[str]) -> str:
    """The precision that build.sh builds by default: FP16 where the bundle holds it, else the last one."""
    return "fp16" if "fp16" in precisions else precisions[-1]


def target_env(target: Target, precisions: Sequence[str]) -> bytes:
    """The variables of ``build.sh``, quoted for a shell."""
    note = ""
    if "rtx" not in target.flavors:
        note = (
            f"TensorRT-RTX does not serve the {target.device}: "
            "this engine is a check of the build and will not run on it"
        )
    variables = {
        "TARGET": target.name,
        "DEFAULT_FLAVOR": target.flavors[0],
        "DEFAULT_PRECISION": default_precision(precisions),
        "HOLDS": "|".join(precisions),
        "RTX_NOTE": note,
    }
    return "".join(f"{key}={shlex.quote(value)}\n" for key, value in variables.items()).encode()


def scripts(target: Target, model: str, precisions: Sequence[str]) -> dict[str, bytes]:
    """Scripts, unit, container file, udev rules and README.txt. ``model``: the contract's name."""
    words = {
        "TARGET": target.name,
        "DEVICE": target.device,
        "CAPABILITY": target.capability,
        "ARCH": target.capability.replace(".", ""),
        "FLAVOR": target.flavors[0],
        "MODEL": model,
        "PRECISION": default_precision(precisions),
        "CHOICES": "|".join(precisions),
    }
    readme = resource("scripts", _README).decode()
    for word, value in words.items():
        readme = readme.replace(f"@{word}@", value)
    files = {name: resource("scripts", name) for name in _STATIC}
    files["70-mutualformer-cameras.rules"] = udev.rules().encode()
    return {**files, "target.env": target_env(target, precisions), _README: readme.encode()}
