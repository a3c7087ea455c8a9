"""The bundle's packages, pinned and hashed for each Python, and the same as a CycloneDX bill of materials."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

from mutualformer import __version__
from mutualformer.export.device.scripts import resource
from mutualformer.export.errors import ExportError

PYTHONS = ("py310", "py311", "py312")
_ONLY_RTX = ("build", "rtx")  # flavour rtx, and what builds its source package
_PACKAGE = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_NAMESPACE = uuid.UUID("6f1f6c0e-6f8b-5d4b-9a52-6f3a4c1f9f10")  # of serial numbers: the same content, the same number


@dataclass(frozen=True)
class Package:
    """One pinned package. ``sha256``: of every file that may be installed for it."""

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

    Hashes are those of all files that pip may choose from, as properties: which one it is depends on the processor.
    """
    try:
        from cyclonedx.model import Property
        from cyclonedx.model.bom import Bom
        from cyclonedx.model.component import Component, ComponentType
        from cyclonedx.output.json import JsonV1Dot5
        from packageurl import PackageURL
    except ModuleNotFoundError as error:
        raise ExportError(
            f"a bill of materials needs Python package {error.name!r}; pip install 'mutualformer[export]'"
        ) from error
    bom = Bom(serial_number=uuid.uuid5(_NAMESPACE, f"{title} {__version__} {table!r}"))
    bom.metadata.timestamp = None  # type: ignore[assignment]  # the library fills in the present otherwise
    ours = Component(
        name="mutualformer", version=__version__, type=ComponentType.APPLICATION, bom_ref=f"mutualformer@{__version__}"
    )
    bom.metadata.component = ours
    for package in table:
        purl = PackageURL("pypi", None, package.name.lower(), package.version)
        bom.components.add(
            Component(
                name=package.name,
                version=package.version,
                type=ComponentType.LIBRARY,
                purl=purl,
                bom_ref=purl.to_string(),
                properties=[Property(name="mutualformer:sha256", value=value) for value in package.sha256],
            )
        )
    bom.register_dependency(ours, bom.components)
    return f"{JsonV1Dot5(bom).output_as_string(indent=1)}\n".encode()


def requirements() -> dict[str, bytes]:
    """``requirements/…``: the lists for each Python and for flavour rtx, and a bill of materials beside each."""
    files: dict[str, bytes] = {}
    for name in (*PYTHONS, *_ONLY_RTX):
        lock = resource("requirements", f"{name}.txt")
        files[f"requirements/{name}.txt"] = lock
        files[f"requirements/{name}.cdx.json"] = bill_of_materials(name, packages(lock.decode()))
    return files
