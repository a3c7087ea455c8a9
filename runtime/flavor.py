"""TensorRT comes in two flavours with one Python API: ``tensorrt`` (classic) and ``tensorrt_rtx`` (TensorRT-RTX)."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from mutualformer.errors import ModelError
from mutualformer.extras import install
from mutualformer.plugins.library import FLAVORS


class FlavorError(ModelError, RuntimeError):
    """The requested TensorRT flavour cannot be used here."""


def installed() -> list[str]:
    """Flavours whose Python package is present, classic TensorRT first."""
    return [flavor for flavor, module in FLAVORS.items() if importlib.util.find_spec(module) is not None]


def resolve(flavor: str) -> str:
    """ "auto" → the installed flavour, classic TensorRT preferred; otherwise the name itself, checked."""
    if flavor == "auto":
        present = installed()
        if not present:
            raise FlavorError(
                f"no TensorRT here: {install('rtx')} (any NVIDIA RTX GPU, builds on a CPU); "
                "[tensorrt] is classic TensorRT, which JetPack brings on a Jetson"
            )
        return present[0]
    if flavor not in FLAVORS:
        raise FlavorError(f"flavor is {flavor!r}, expected auto, {' or '.join(FLAVORS)}")
    return flavor


def import_flavor(flavor: str) -> ModuleType:
    """The Python module of a flavour. Raises FlavorError with what to install."""
    name = FLAVORS[resolve(flavor)]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise FlavorError(f"flavor {flavor!r} needs the Python package {name} ({error}): {install(flavor)}") from error
    except OSError as error:
        raise FlavorError(f"Python package {name} is installed but its library does not load: {error}") from error
