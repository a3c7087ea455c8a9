"""``mutualformer predict SOURCE… --out DIR``: pictures in; masks, cut-outs, overlays and numbers out.

Exit codes: 0 every frame has its answer; 1 some could not be read (they are named, counted and skipped), there was
none, or the model cannot be used; 2 wrong arguments; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file: the repository root stands in for this folder on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import time
from collections.abc import Sequence

import cv2

from mutualformer.runtime import zoo
from mutualformer.runtime.commandline.arguments import add_device, add_gallery
from mutualformer.runtime.commandline.running import run_verb
from mutualformer.runtime.images.salient import THRESHOLD
from mutualformer.runtime.prediction import batch, saving
from mutualformer.runtime.prediction.batch import Request
from mutualformer.runtime.prediction.run import Summary
from mutualformer.runtime.sources.depth import POLARITIES, DepthRule
from mutualformer.runtime.sources.inputs import SourceError

SOURCES = """\
sources:
  photo.jpg …                      photographs, without depth
  rgb.png --depth depth.png        a photograph with its depth map (8, 16 bit or float; also two folders)
  FOLDER                           a data set in any of the usual spellings (RGB/ depth/ GT/), or a tree of photographs
  sample:motorcycle                the real pair in $MUTUALFORMER_SAMPLES
  rgbd:ROOT/NAME, synthetic:N      standard sets, rendered rooms (see `mutualformer data list`)
  film.mp4 [--depth depth.mkv]     a video, with a second one as depth or none
  0, /dev/video0                   a webcam; Ctrl-C or --frames ends it
  realsense://, recording.mcap, …  whatever `mutualformer stream --list` shows
"""


def parser() -> argparse.ArgumentParser:
    """The command line of this verb."""
    parser = argparse.ArgumentParser(
        prog="mutualformer predict",
        description="Pictures in; soft and binary masks, cut-outs, overlays, boxes and distances out.",
        epilog=SOURCES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="what to look at, see below")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets one folder for each kind of file")
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME|FILE",
        help=f"{zoo.HELP}; repeat it to see several side by side (default: {zoo.DEFAULT})",
    )
    parser.add_argument(
        "--what",
        default=",".join(saving.DEFAULT),
        metavar="KINDS",
        help=f"some of {','.join(saving.KINDS)}, or all (default: %(default)s)",
    )
    parser.add_argument("--depth", metavar="SOURCE", help="depth of the one SOURCE: file for file, folder for folder")
    parser.add_argument(
        "--depth-scale",
        type=float,
        metavar="METRES",
        help="metres per unit of integer depth maps (default: 0.001, millimetres)",
    )
    parser.add_argument(
        "--polarity",
        choices=POLARITIES,
        help=f"of depth maps without a unit: 8-bit maps ({POLARITIES[0]} by default), with it maps of any kind",
    )
    parser.add_argument("--threshold", type=float, default=THRESHOLD, help="of the binary mask (default: %(default)s)")
    parser.add_argument("--frames", type=int, metavar="N", help="stop after N frames")
    add_gallery(parser)
    add_device(parser)
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="threads (default: all this process may use)"
    )
    parser.add_argument(
        "--batch", type=int, default=0, metavar="N", help="frames per call of the model (default: 1 on a CPU)"
    )
    parser.add_argument("--resume", action="store_true", help="keep what an earlier run into DIR finished")
    parser.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="spread over a Ray cluster (without ADDRESS: this machine); implies --resume",
    )
    return parser


def command(args: argparse.Namespace) -> int:
    """Arguments → one request, and what it did in one line."""
    # Each worker thread decodes and encodes its own picture; OpenCV's own threads would only wait for one another.
    cv2.setNumThreads(1)
    started = time.monotonic()
    request = Request(
        sources=tuple(args.sources),
        out=args.out,
        models=tuple(args.model or [zoo.DEFAULT]),
        what=saving.kinds(args.what),
        depth=args.depth,
        rule=depth_rule(args.depth_scale, args.polarity),
        threshold=args.threshold,
        frames=args.frames,
        gallery=args.gallery,
        device=args.device,
        workers=args.workers,
        batch=args.batch,
        resume=args.resume,
        ray=args.ray,
    )
    summary = batch.predict(request)
    print(sentence(summary, args.out, time.monotonic() - started))
    return summary.exit_code


def depth_rule(metres_per_unit: float | None, polarity: str | None) -> DepthRule:
    """How depth maps are read. Raises SourceError for a unit that is none, and for a unit and a polarity at once."""
    if metres_per_unit is not None and polarity is not None:
        raise SourceError("--depth-scale is for depth with a unit and --polarity for depth without: give one of them")
    if metres_per_unit is not None and not 1e-6 <= metres_per_unit <= 1.0:
        raise SourceError(f"--depth-scale is {metres_per_unit:g}, expected metres per unit: 0.001 for millimetres")
    units = None if metres_per_unit is None else 1.0 / metres_per_unit
    return DepthRule(units, polarity or POLARITIES[0], relative=polarity is not None)


def sentence(summary: Summary, out: Path, seconds: float) -> str:
    """``predicted 12 pictures in 1.3 s (9.2 a second) → out; contact sheet out/sheet.jpg``."""
    pictures = f"{summary.computed} picture{'' if summary.computed == 1 else 's'}"
    parts = [f"predicted {pictures} in {seconds:.1f} s ({summary.computed / max(seconds, 1e-9):.1f} a second) → {out}"]
    if summary.kept:
        parts.append(f"{summary.kept} were done before")
    if summary.broken:
        parts.append(f"{summary.broken} skipped, the first: {summary.first_error}")
    if not summary.frames:
        parts = [f"no frame in {out}: the source gave none"]
    sheets = [path for path in summary.files if path.suffix == ".jpg"]
    if sheets:
        parts.append(f"contact sheet {sheets[0]}")
    return "; ".join(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``mutualformer predict``."""
    return run_verb(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
