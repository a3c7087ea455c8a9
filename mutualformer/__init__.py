"""MutualFormer on the edge: multi-modal perception that is provably the same model you trained.

    import mutualformer

    model = mutualformer.load("sod-lite")
    result = mutualformer.predict(model, "photo.jpg")
    result.save("out")

    for result in mutualformer.stream("realsense://", model):
        print(result.number, result.objects)

``help(mutualformer.predict)`` lists its inputs. Errors that a user can correct are :class:`mutualformer.Error`.

The four stages are the packages ``plugins``, ``runtime``, ``train`` and ``export`` (in a checkout: links to the folders
of the same names). Dependencies point one way: plugins ← runtime ← train ← export. Importing this package imports
none of them: its names are looked up when they are first used.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mutualformer.errors import BuildError, CameraError, DataError, Error, InputError, ModelError
    from mutualformer.runtime.prediction.result import Embedding, Prediction
    from mutualformer.runtime.prediction.single import Live, predict, predict_many, stream
    from mutualformer.runtime.session import Session
    from mutualformer.runtime.zoo.lookup import list_models, load

__version__ = "0.2.0"

# Some dependencies send usage reports by default. These variables switch that off; they are read at import, which is
# after this line, and child processes inherit them. A variable that is set already stays as it is.
for _variable, _off in (
    ("ORT_DISABLE_TELEMETRY", "1"),
    ("DEPTHAI_TELEMETRY", "0"),
    ("RAY_USAGE_STATS_ENABLED", "0"),
    ("HF_HUB_DISABLE_TELEMETRY", "1"),
):
    os.environ.setdefault(_variable, _off)
# OpenCV refuses larger pictures by itself, whatever their headers say; it reads this when it is imported.
_megapixels = os.environ.get("MUTUALFORMER_MAX_MEGAPIXELS", "64")
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(int(float(_megapixels) * 1e6)))

__all__ = [
    "BuildError",
    "CameraError",
    "DataError",
    "Embedding",
    "Error",
    "InputError",
    "Live",
    "ModelError",
    "Prediction",
    "Session",
    "__version__",
    "list_models",
    "load",
    "predict",
    "predict_many",
    "stream",
]

_PLACES = {
    "errors": ("BuildError", "CameraError", "DataError", "Error", "InputError", "ModelError"),
    "runtime.prediction.result": ("Embedding", "Prediction"),
    "runtime.prediction.single": ("Live", "predict", "predict_many", "stream"),
    "runtime.session": ("Session",),
    "runtime.zoo.lookup": ("list_models", "load"),
}
_HOMES = {name: f"mutualformer.{place}" for place, names in _PLACES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
