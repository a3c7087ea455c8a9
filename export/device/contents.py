"""Collects all files of a bundle: models, kernels, sources, wheel, packages, scripts, licences."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from mutualformer.export.device.archive import write_archive
from mutualformer.export.device.models import models, wanted_precisions
from mutualformer.export.device.plugin import can_compile, cubins, licences, plugin_sources
from mutualformer.export.device.sbom import requirements
from mutualformer.export.device.scripts import scripts
from mutualformer.export.device.wheel import build_wheel
from mutualformer.export.engine.targets import Target
from mutualformer.export.precision.convert import open_model
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.files import sha256


def write_bundle(
    source: Path, target: Target, out: Path, precisions: Sequence[str] = (), calibration: str | None = None
) -> tuple[list[str], int]:
    """Write the archive ``out``; returns its precisions and number of files. Empty ``precisions``: all possible ones.

    ``source``: a checkpoint or an .onnx file. Raises ExportError, DataError, ContractError, and leaves ``out``
    unchanged then.
    """

    def check(contract: Contract) -> None:
        wanted_precisions(contract, precisions, calibration)
        can_compile()

    opened = open_model(source, check)
    contract = opened.contract
    kept = list(wanted_precisions(contract, precisions, calibration))
    files = models(opened.graph, contract, kept, calibration)
    wheel, content = build_wheel()
    files |= {f"wheels/{wheel}": content, **cubins(target), **plugin_sources(), **requirements(), **licences()}
    files |= scripts(target, contract.model, kept)
    facts = {
        "target": target.name,
        "device": target.device,
        "compute_capability": target.capability,
        "flavors": target.flavors,
        "model": contract.model,
        "precisions": kept,
        "source_sha256": sha256(source),
        "git_revision": contract.git_revision,
        "wheel": wheel,
    }
    files["bundle.json"] = (json.dumps(facts, indent=1) + "\n").encode()
    write_archive(out, f"mutualformer-{contract.model}-{target.name}", files)
    return kept, len(files)
