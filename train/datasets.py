"""``mutualformer data check DATA …`` and ``mutualformer data list``: find faults of a dataset; list the standard sets.

check opens every file of the RGB-D and ReID sets in DATA (at most three levels below a folder), or the frames of
another address, prints what they hold and a line for each fault, draws a contact sheet where asked, and exits 1 when
something must be fixed. Several sets are taken as splits: no picture may be in two of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mutualformer.runtime.commandline.running import verb, verb_parser
from mutualformer.runtime.files import check_writable, write_bytes
from mutualformer.runtime.prediction import sheet
from mutualformer.runtime.sources.folders import sets
from mutualformer.runtime.sources.folders.survey import MUST, Remark
from mutualformer.runtime.sources.folders.tum import is_tum
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.names import is_rgbd
from mutualformer.train.data.check.findings import Report
from mutualformer.train.data.check.reid import check_reid
from mutualformer.train.data.check.rgbd import check_frames, check_rgbd
from mutualformer.train.data.check.telling import COLUMNS


def find_sets(folder: Path) -> list[Path]:
    """The datasets in ``folder``, at most three levels below it; a TUM folder, whose rgb/ and depth/ look like one, is
    none."""
    if not folder.is_dir() or is_tum(folder):
        return []
    return [*sets.data_folders(folder, "sod"), *sets.data_folders(folder, "reid")]


def check(
    addresses: Sequence[Path | str], strips: list[tuple[str, bytes]] | None = None
) -> tuple[list[str], list[Remark]]:
    """Sentences about all datasets in ``addresses``, and what to do, what must be fixed first.

    Bad input is a finding, never an exception. ``strips``: gets what a contact sheet shows, as :func:`sheet.sheet`
    takes it.
    """
    report = Report(strips)
    for address in map(str, addresses):
        try:
            places = find_sets(Path(address))
            if not places:
                check_frames(address, report)
        except (DataError, OSError) as error:
            report.add(MUST, "folder", [address], f"holds no data ({error})", "docs/data.md lists addresses")
            continue
        for place in places:
            (check_rgbd if is_rgbd(place) else check_reid)(place, report)
    report.compare()
    return report.lines, sorted(report.findings, key=lambda finding: finding.level != MUST)


def parser() -> argparse.ArgumentParser:
    """Arguments of the verb."""
    arguments = verb_parser("data", __doc__)
    verbs = arguments.add_subparsers(dest="what", required=True)
    checked = verbs.add_parser("check", help="open every file and list what to fix")
    checked.add_argument("folders", nargs="+", metavar="DATA")
    checked.add_argument("-o", "--sheet", type=Path, metavar="FILE.jpg", help="draw pictures, masks and depth")
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
    lines, findings = check(arguments.folders, strips)
    if strips:
        write_bytes(arguments.sheet, sheet.sheet(strips[: sheet.MOST], COLUMNS))
    lines += [f"{one.level}: {one}" for one in findings]
    wrong = any(one.level == MUST for one in findings)
    print("\n".join([*lines, "the lines that start with fix: must be fixed" if wrong else "nothing must be fixed"]))
    return int(wrong)


main = verb(parser, command)
