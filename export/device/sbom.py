"""The bundle's Python packages, pinned and hashed for each Python, and as CycloneDX bills of materials."""

from __future__ import annotations

import json
import re
import uuid

from mutualformer import __version__
from mutualformer.export.device.scripts import resource

PYTHONS = ("py310", "py311", "py312")
_ONLY_RTX = ("build", "rtx")  # packages of flavour rtx, and those that build its source package
_PACKAGE = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)
_NAMESPACE = uuid.UUID("6f1f6c0e-6f8b-5d4b-9a52-6f3a4c1f9f10")  # same content, same serial number


def packages(lock: str) -> list[tuple[str, str]]:
    """(name, version) of every package of a list that uv or pip-compile wrote."""
    return _PACKAGE.findall(lock)


def bill_of_materials(title: str, table: list[tuple[str, str]]) -> bytes:
    """CycloneDX 1.5 as JSON; the same content gives the same bytes. The hashes are in the list beside it."""
    ours = {"type": "application", "bom-ref": f"mutualformer@{__version__}", "name": "mutualformer"}
    components = []
    for name, version in table:
        purl = f"pkg:pypi/{name.lower()}@{version}"
        components.append({"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl})
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
