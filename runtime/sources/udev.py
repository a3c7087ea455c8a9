"""USB permissions of depth cameras on Linux: which plugged-in cameras this user may not open, and udev rules for them.

The vendor numbers come from the table of sources, so that every new camera has its rule.
"""

from __future__ import annotations

import os
from pathlib import Path

from mutualformer.runtime.sources.listing import USB, belongs, usb_devices
from mutualformer.runtime.sources.opening import SOURCES

RULES_FILE = "/etc/udev/rules.d/70-mutualformer-cameras.rules"


def rules() -> str:
    """A rules file that lets every user of this machine open the cameras of :data:`SOURCES`."""
    lines = [
        "# Lets every user open the USB depth cameras that mutualformer knows. Put it in place with",
        f"#   mutualformer doctor --udev | sudo tee {RULES_FILE}",
        "#   sudo udevadm control --reload-rules && sudo udevadm trigger    (then plug the camera in again)",
    ]
    for source in SOURCES.values():
        numbers = sorted({_match(pattern) for pattern in source.usb})
        if numbers:
            lines += ["", f"# {source.about}"]
            lines += [f'SUBSYSTEM=="usb", {match}, MODE="0666", GROUP="video"' for match in numbers]
    return "\n".join(lines) + "\n"


def _match(pattern: str) -> str:
    """``8086:0b07``, ``03e7:`` or ``8086:RealSense`` → what udev compares."""
    vendor, _, product = pattern.partition(":")
    match = f'ATTR{{idVendor}}=="{vendor}"'
    if not product:
        return match
    if all(letter in "0123456789abcdef" for letter in product):
        return f'{match}, ATTR{{idProduct}}=="{product}"'
    return f'{match}, ATTR{{product}}=="*{product}*"'


def locked(root: Path = USB, nodes: Path = Path("/dev/bus/usb")) -> list[str]:
    """Names of the plugged-in cameras that this user may not open."""
    names = []
    for device in usb_devices(root):
        if not any(belongs(device, source.usb) for source in SOURCES.values() if source.usb):
            continue
        node = nodes / device.get("node", "")
        if node.is_file() or node.is_char_device():
            if not os.access(node, os.R_OK | os.W_OK):
                names.append(device["product"] or device["id"])
    return names
