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

from mutualformer.errors import InputError
from mutualformer.runtime import zoo
from mutualformer.runtime.commandline.arguments import add_access, add_device, add_gallery
from mutualformer.runtime.commandline.running import run_verb
from mutualformer.runtime.images.objects import THRESHOLD
from mutualformer.runtime.prediction import batch, look, output, saving, upload
from mutualformer.runtime.prediction.batch import Request
from mutualformer.runtime.prediction.run import Summary
from mutualformer.runtime.sources.depth import POLARITIES
from mutualformer.runtime.sources.describe import MAX_PIXELS
from mutualformer.runtime.sources.folders.file_frames import ReadOptions

SOURCES = """\
sources:
  photo.jpg …, 'photos/*.jpg', -   photographs, without depth; - is standard input
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
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help="what to look at, see below")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="the one file that one picture becomes, its kind by the ending: cut.png and cut.webp a cut-out, look.jpg "
        "an overlay, found.json the objects; - for standard output; film.mp4 the video SOURCE with boxes and distances",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="gets one folder for each kind of file")
    parser.add_argument(
        "--page", metavar="[HOST:]PORT", help="serve a page that takes pictures from the browser, for example 8080"
    )
    add_access(parser)
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME|FILE",
        help=f"{zoo.HELP}; repeat it to see several side by side (default: {zoo.DEFAULT})",
    )
    parser.add_argument(
        "--what",
        metavar="KINDS",
        help=f"some of {','.join(saving.KINDS)}, or all (default: {','.join(saving.DEFAULT)}; with -o by the ending)",
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
    parser.add_argument(
        "--threshold", type=float, default=THRESHOLD, help="what counts as salient (default: %(default)s)"
    )
    parser.add_argument(
        "--background", metavar="COLOUR|FILE|blur", help="what cut-outs are put upon (default: nothing, transparent)"
    )
    parser.add_argument("--crop", action="store_true", help="cut cut-outs to what was found")
    parser.add_argument("--raw", action="store_true", help="the network's map everywhere, with its soft edges")
    parser.add_argument(
        "--max-megapixels",
        type=float,
        metavar="N",
        help=f"the largest picture that is read (default: {MAX_PIXELS / 1e6:g})",
    )
    parser.add_argument(
        "--watch", action="store_true", help="SOURCE is a folder: predict what comes into it, until Ctrl-C"
    )
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
    if args.page is not None:
        model, *more = args.model or [zoo.DEFAULT]
        if args.sources or more:
            raise InputError("--page takes one --model and no SOURCE: its pictures come from the browser")
        upload.serve(model, args.page, args.token, args.token_file, args.tls, args.device, args.threshold)
        return 0
    if not args.sources:
        raise InputError("SOURCE is missing, see --help")
    started = time.monotonic()
    with output.sources(args.sources) as sources:
        request = asked(args, sources)
        if args.watch:
            batch.watch(request, lambda summary: print(sentence(summary, args.out, time.monotonic() - started)))
        summary = batch.predict(request)
    where = args.output or args.out
    said = sentence(summary, where, time.monotonic() - started)
    print(said, file=sys.stderr if args.output == output.PIPE else sys.stdout)
    return summary.exit_code


def asked(args: argparse.Namespace, sources: tuple[str, ...]) -> Request:
    """The command line as a request."""
    return Request(
        sources=sources,
        out=args.out,
        output=args.output,
        models=tuple(args.model or [zoo.DEFAULT]),
        what=saving.kinds(args.what) if args.what is not None else None,
        depth=args.depth,
        options=read_options(args),
        threshold=args.threshold,
        frames=args.frames,
        gallery=args.gallery,
        device=args.device,
        workers=args.workers,
        batch=args.batch,
        resume=args.resume,
        ray=args.ray,
        look=look.Look(look.background(args.background), args.crop, args.raw),
    )


def read_options(args: argparse.Namespace) -> ReadOptions:
    """How the files of ``--depth`` are read. Raises DataError for a scale that is none, or a scale and a polarity."""
    return ReadOptions(args.depth_scale or 0.0, polarity=args.polarity or "")


def sentence(summary: Summary, out: Path | str, seconds: float) -> str:
    """``predicted 12 pictures in 1.3 s (9.2 a second) → out; contact sheet out/sheet.jpg``."""
    count = f"{summary.computed} picture{'' if summary.computed == 1 else 's'}"
    parts = [f"predicted {count} in {seconds:.1f} s ({summary.computed / max(seconds, 1e-9):.1f} a second) → {out}"]
    if summary.kept:
        parts.append(f"{summary.kept} were done before")
    if summary.broken:
        parts.append(f"{summary.broken} skipped, the first: {summary.first_error}")
    if not summary.frames:
        parts = [f"no frame in {out}: the source gave none"]
    sheets = [path for path in summary.files if path.name == "sheet.jpg"]
    if sheets:
        parts.append(f"contact sheet {sheets[0]}")
    return "; ".join(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``mutualformer predict``."""
    return run_verb(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
