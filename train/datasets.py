"""``mutualformer data check DATA …`` and ``mutualformer data list``: find faults of a dataset; list the standard sets.

check opens every file of the RGB-D and ReID sets in DATA (at most three levels below a folder), or the frames of
another address, prints what they hold and a line for each fault, draws a contact sheet where asked, and exits 1 when
something must be fixed. Several sets are taken as splits: no picture may be in two of them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mutualformer.runtime.commandline.running import verb
from mutualformer.runtime.files import check_writable, write_bytes
from mutualformer.runtime.prediction import sheet
from mutualformer.runtime.sources.folders import sets
from mutualformer.runtime.sources.folders.survey import MUST, Remark
from mutualformer.runtime.sources.folders.tum import is_tum
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.names import is_rgbd
from mutualformer.train.data.check.findings import Fingerprint, duplicates
from mutualformer.train.data.check.reid import check_reid
from mutualformer.train.data.check.rgbd import check_frames, check_rgbd
from mutualformer.train.data.check.telling import COLUMNS, sentences


def find_sets(folder: Path) -> list[Path]:
    """The datasets in ``folder``, at most three levels below it; a TUM folder, whose rgb/ and depth/ look like one, is
    none."""
    if not folder.is_dir() or is_tum(folder):
        return []
    return [*sets.data_folders(folder, "sod"), *sets.data_folders(folder, "reid")]


def check(addresses: Sequence[Path | str], strips: list[tuple[str, bytes]] | None = None) -> dict[str, Any]:
    """Facts and findings of all datasets in ``addresses``, JSON types; ``ok``: nothing must be fixed.

    Bad input is a finding, never an exception. ``strips``: gets what a contact sheet shows, as :func:`sheet.sheet`
    takes it.
    """
    facts: dict[str, Any] = {}
    findings: list[Remark] = []
    prints: list[Fingerprint] = []
    for address in map(str, addresses):
        try:
            places = find_sets(Path(address))
            if not places:
                facts[address], findings_here = check_frames(address)
                findings += findings_here
        except (DataError, OSError) as error:
            findings.append(
                Remark(MUST, "folder", f"{address}: holds no data ({error})", "docs/data.md lists addresses")
            )
            continue
        for place in places:
            label = str(place)
            if is_rgbd(place):
                facts[label], findings_here, prints_here = check_rgbd(place, label, strips)
                prints += prints_here
            else:
                facts[label], findings_here = check_reid(place, label)
            findings += findings_here
    findings += duplicates(prints)
    findings.sort(key=lambda finding: finding.level != MUST)
    ok = not any(finding.level == MUST for finding in findings)
    return {"ok": ok, "folders": facts, "findings": [finding._asdict() for finding in findings]}


def _lines(report: dict[str, Any]) -> str:
    lines = [line for place, facts in report["folders"].items() for line in sentences(place, facts)]
    lines += [f"{one['level']}: {one['what']}: {one['remedy']}" for one in report["findings"]]
    return "\n".join(
        [*lines, "nothing must be fixed" if report["ok"] else "the lines that start with fix: must be fixed"]
    )


def parser() -> argparse.ArgumentParser:
    """Arguments of the verb."""
    arguments = argparse.ArgumentParser(prog="mutualformer data", description=(__doc__ or "").splitlines()[0])
    verbs = arguments.add_subparsers(dest="what", required=True)
    checked = verbs.add_parser("check", help="open every file and list what to fix")
    checked.add_argument("folders", nargs="+", metavar="DATA")
    checked.add_argument("-o", "--sheet", type=Path, metavar="FILE.jpg", help="draw pictures, masks and depth")
    checked.add_argument("--json", action="store_true", help="print everything as JSON")
    verbs.add_parser("list", help="the standard sets, where they come from and how DATA names them")
    return arguments


def command(arguments: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    if arguments.what == "list":
        print(sets.listing())
        return 0
    strips: list[tuple[str, bytes]] | None = None
    if arguments.sheet is not None:
        check_writable(arguments.sheet)
        strips = []
    report = check(arguments.folders, strips)
    if strips:
        write_bytes(arguments.sheet, sheet.sheet(strips[: sheet.MOST], COLUMNS))
    print(json.dumps(report, indent=2, ensure_ascii=False) if arguments.json else _lines(report))
    return 0 if report["ok"] else 1


main = verb(parser, command)
