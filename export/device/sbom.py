"""The bundle's Python packages, pinned and hashed for each Python, and as CycloneDX bills of materials."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from typing import Any

from mutualformer import __version__
from mutualformer.export.device.scripts import resource
from mutualformer.export.errors import ExportError

PYTHONS = ("py310", "py311", "py312")
_ONLY_RTX = ("build", "rtx")  # packages of flavour rtx, and those that build its source package
_PACKAGE = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_NAMESPACE = uuid.UUID("6f1f6c0e-6f8b-5d4b-9a52-6f3a4c1f9f10")  # same content, same serial number


@dataclass(frozen=True)
class Package:
    """One pinned package. ``sha256``: of every file that pip may install for it."""

    name: str
    version: str
    sha256: tuple[str, ...]


def packages(lock: str) -> list[Package]:
    """The packages of a list that uv or pip-compile wrote. Raises ExportError for one without hashes."""
    table: list[Package] = []
    for entry in re.split(r"\n(?=\S)", lock.replace("\\\n", " ")):
        match = _PACKAGE.match(entry)
        if match is None:
            continue
        hashes = tuple(_HASH.findall(entry))
        if not hashes:
            raise ExportError(f"package {match[1]} has no hashes in its list; run `sh tools/lock_device.sh`")
        table.append(Package(match[1], match[2], hashes))
    return table


def bill_of_materials(title: str, table: list[Package]) -> bytes:
    """CycloneDX 1.5 as JSON; the same content gives the same bytes.

    The hashes of all files that pip may choose from are properties: its choice depends on the processor.
    """
    ours = {"type": "application", "bom-ref": f"mutualformer@{__version__}", "name": "mutualformer"}
    components = []
    for package in table:
        purl = f"pkg:pypi/{package.name.lower()}@{package.version}"
        component: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": package.name}
        component |= {"version": package.version, "purl": purl}
        component["properties"] = [{"name": "mutualformer:sha256", "value": value} for value in package.sha256]
        components.append(component)
    references = [component["bom-ref"] for component in components]
    bill = {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": uuid.uuid5(_NAMESPACE, f"{title} {__version__} {table!r}").urn,
        "version": 1,
        "metadata": {"component": {**ours, "version": __version__}},
        "components": components,
        "dependencies": [
            {"ref": ours["bom-ref"], "dependsOn": references},
            *({"ref": reference} for reference in references),
        ],
    }
    return (json.dumps(bill, indent=1) + "\n").encode()


def requirements() -> dict[str, bytes]:
    """``requirements/…``: the lists for each Python and for flavour rtx, and a bill of materials beside each."""
    files: dict[str, bytes] = {}
    for name in (*PYTHONS, *_ONLY_RTX):
        lock = resource("requirements", f"{name}.txt")
        files[f"requirements/{name}.txt"] = lock
        files[f"requirements/{name}.cdx.json"] = bill_of_materials(name, packages(lock.decode()))
    return files
