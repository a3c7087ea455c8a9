"""``stream --list``: which cameras are plugged in, which sources are ready, what each missing extra would add.

Reads the kernel's USB table instead of asking the SDKs: those take seconds to find out that nothing is there.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

from mutualformer.extras import install as how_to_install
from mutualformer.runtime.sources.devices import gstreamer, openni2
from mutualformer.runtime.sources.opening import SOURCES

USB = Path("/sys/bus/usb/devices")
VIDEO = Path("/sys/class/video4linux")


def usb_devices(root: Path = USB) -> list[dict[str, str]]:
    """``id`` (vendor:product, hex), ``product``, ``serial``, ``speed`` (Mbit/s) of every USB device.

    ``node``: its file below /dev/bus/usb, such as ``001/004``; empty where the kernel does not say.
    """
    devices = []
    for device in sorted(root.glob("*")):
        if not (device / "idVendor").is_file():
            continue
        read = {
            name: (device / name).read_text(errors="replace").strip() if (device / name).is_file() else ""
            for name in ("idVendor", "idProduct", "product", "serial", "speed", "busnum", "devnum")
        }
        identity = f"{read['idVendor']}:{read['idProduct']}"
        bus, number = read["busnum"], read["devnum"]
        node = f"{int(bus):03d}/{int(number):03d}" if bus.isdecimal() and number.isdecimal() else ""
        devices.append({"id": identity, "node": node, **{key: read[key] for key in ("product", "serial", "speed")}})
    return devices


def belongs(device: dict[str, str], patterns: tuple[str, ...]) -> bool:
    """A pattern is ``vendor:product`` that may be cut short, or ``vendor:Name`` found in the product's name."""
    vendor, _, number = device["id"].partition(":")
    pairs = (pattern.partition(":")[::2] for pattern in patterns)
    return any(one == vendor and (number.startswith(two) or two in device["product"]) for one, two in pairs)


def sources(root: Path = USB) -> list[dict[str, Any]]:
    """One entry per source: ``scheme example about ready install devices``."""
    plugged = usb_devices(root)
    entries = []
    for source in SOURCES.values():
        ready = source.needs is None or importlib.util.find_spec(source.needs[0]) is not None
        install = "" if ready or source.needs is None else how_to_install(source.needs[1])
        if source.scheme == "openni2" and not openni2.available():
            ready, install = False, "an OpenCV built with -DWITH_OPENNI2=ON"
        if source.module == "devices.gstreamer" and shutil.which(gstreamer.PROGRAM) is None:
            ready, install = False, gstreamer.INSTALL
        devices = [device for device in plugged if belongs(device, source.usb)]
        if source.scheme == "v4l2":
            devices = [
                {"product": name.read_text(errors="replace").strip(), "serial": f"/dev/{name.parent.name}", "speed": ""}
                for name in sorted(VIDEO.glob("*/name"))
            ]
        about = {"scheme": source.scheme, "example": source.example, "about": source.about}
        entries.append({**about, "ready": ready, "install": install, "devices": devices})
    return entries


def text(entries: list[dict[str, Any]]) -> str:
    """For people."""
    lines = ["SOURCE                        STATUS"]
    for entry in entries:
        status = "ready" if entry["ready"] else f"missing, {entry['install']}"
        lines.append(f"{entry['example']:<29} {status}: {entry['about']}")
        for device in entry["devices"]:
            slow = " (USB 2: plug it into a USB 3 port)" if device["speed"] in ("12", "480") else ""
            lines.append(f"    connected: {device['product'] or device['id']} serial {device['serial'] or '?'}{slow}")
    if not any(entry["devices"] for entry in entries if entry["scheme"] != "v4l2"):
        lines.append("No depth camera is plugged in over USB (network cameras are not listed).")
    return "\n".join(lines)
