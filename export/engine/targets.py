"""The table of devices: name → compute capability and the TensorRT flavours that build for it."""

from __future__ import annotations

from dataclasses import dataclass

from mutualformer.export.errors import ExportError


@dataclass(frozen=True)
class Target:
    """``capability``: CUDA compute capability. ``flavors``: which TensorRT builds engines for it."""

    name: str
    capability: str
    device: str
    flavors: tuple[str, ...]


_DESKTOP, _JETSON = ("rtx", "tensorrt"), ("tensorrt",)
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("rtx20", "7.5", "GeForce RTX 20, Quadro RTX, T4", _DESKTOP),
        Target("a100", "8.0", "A100, A30", _DESKTOP),
        Target("rtx30", "8.6", "GeForce RTX 30, RTX A-series, A10", _DESKTOP),
        Target("rtx40", "8.9", "GeForce RTX 40, RTX Ada, L4, L40", _DESKTOP),
        Target("rtx50", "12.0", "GeForce RTX 50, RTX PRO Blackwell", _DESKTOP),
        Target("h100", "9.0", "H100, H200", _JETSON),
        Target("b200", "10.0", "B200, GB200", _JETSON),
        Target("orin-nano", "8.7", "Jetson Orin Nano", _JETSON),
        Target("orin-nx", "8.7", "Jetson Orin NX", _JETSON),
        Target("orin-agx", "8.7", "Jetson AGX Orin", _JETSON),
        Target("thor", "11.0", "Jetson AGX Thor", _JETSON),
    )
}

RTX_DEFAULT = ("8.0", "8.6", "8.9", "12.0+")
"""Default targets of TensorRT-RTX 1.7: Ampere, Ada, and Blackwell or later."""


def capabilities(names: list[str], flavor: str) -> tuple[str, ...]:
    """Compute capabilities of the named targets, none for no names. Raises ExportError for one the flavour lacks."""
    values = []
    for name in names:
        target = TARGETS[name]
        if flavor not in target.flavors:
            raise ExportError(
                f"target {name} ({target.device}, compute capability {target.capability}) is not served by flavor "
                f"{flavor}; build on the device with --flavor {target.flavors[0]}"
            )
        values.append(target.capability)
    return tuple(dict.fromkeys(values))
