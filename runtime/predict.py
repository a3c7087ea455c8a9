"""``mutualformer predict SOURCE… --out DIR``: pictures in; masks, cut-outs, overlays and numbers out.

Exit codes: 0 every frame has its answer; 1 some frames could not be read (they are named, counted and skipped), there
was no frame, or the model cannot be used; 2 wrong arguments; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import cv2

from mutualformer.errors import InputError
from mutualformer.runtime import zoo
from mutualformer.runtime.commandline.arguments import add_access, add_device, add_gallery, rarely_needed
from mutualformer.runtime.commandline.running import verb
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
    add = parser.add_argument
    add("sources", nargs="*", metavar="SOURCE", help="pictures, folders, videos or cameras, see below")
    add("-o", "--output", metavar="FILE", help="one file out: cut.png, cut.webp, look.jpg, found.json, film.mp4, or -")
    add("--out", type=Path, metavar="DIR", help="folder for the results, with one folder per kind of file")
    page = "serve a page that takes pictures from the browser, for example 8080"
    add("--page", metavar="[HOST:]PORT", help=page)
    about = f"{zoo.HELP}; repeat it to compare several (default: {zoo.DEFAULT})"
    add("--model", action="append", metavar="NAME|FILE", help=about)
    kinds = f"some of {','.join(saving.KINDS)}, or all (default: {','.join(saving.DEFAULT)}; with -o by the ending)"
    add("--what", metavar="KINDS", help=kinds)
    add("--depth", metavar="SOURCE", help="depth of the one SOURCE: a file for a file, a folder for a folder")
    add("--depth-scale", type=float, metavar="METRES", help="metres per unit of integer depth (default: 0.001)")
    add("--background", metavar="COLOUR|FILE|blur", help="background of cut-outs (default: transparent)")
    add("--crop", action="store_true", help="crop cut-outs to the object")
    add("--watch", action="store_true", help="also predict pictures that arrive in the folder SOURCE later")
    add("--frames", type=int, metavar="N", help="stop after N frames")
    add("--resume", action="store_true", help="keep what an earlier run into DIR finished")
    add_gallery(parser)
    rare = rarely_needed(parser)
    add_device(parser, rare)
    add_access(rare)
    add = rare.add_argument
    add(
        "--threshold",
        type=float,
        default=THRESHOLD,
        help="saliency of an object's pixels (default: %(default)s)",
    )
    add("--raw", action="store_true", help="write the network's map with its soft edges, not finished")
    add("--polarity", choices=POLARITIES, help=f"which end of depth without a unit is near (default: {POLARITIES[0]})")
    limit = f"refuse larger pictures (default: {MAX_PIXELS / 1e6:g})"
    add("--max-megapixels", type=float, metavar="N", help=limit)
    add("--workers", type=int, default=0, metavar="N", help="threads (default: all this process may use)")
    add("--batch", type=int, default=0, metavar="N", help="frames per call of the model (default: 1 on a CPU)")
    ray = "spread over a Ray cluster (without ADDRESS: this machine); implies --resume"
    add("--ray", nargs="?", const="local", metavar="ADDRESS", help=ray)
    return parser


def command(args: argparse.Namespace) -> int:
    """Turn the arguments into one request, carry it out, and print the outcome in one line."""
    # Each worker thread decodes and encodes its own picture; OpenCV's threads on top would only wait for one another.
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
    """The command line as a request. Raises KindError, LookError, DataError, RequestError."""
    same = ("out", "output", "depth", "threshold", "frames", "gallery", "device", "workers", "batch", "resume", "ray")
    return Request(
        sources=sources,
        models=tuple(args.model or [zoo.DEFAULT]),
        what=saving.kinds(args.what) if args.what is not None else None,
        options=ReadOptions(args.depth_scale or 0.0, polarity=args.polarity or ""),
        look=look.Look(look.background(args.background), args.crop, args.raw),
        **{name: getattr(args, name) for name in same},
    )


def sentence(summary: Summary, out: Path | str, seconds: float) -> str:
    """``predicted 12 pictures in 1.3 s (9.2 per second) → out; contact sheet out/sheet.jpg``."""
    if not summary.frames:
        return f"no frame in {out}: the source gave none"
    count, rate = summary.computed, summary.computed / max(seconds, 1e-9)
    parts = [f"predicted {count} picture{'s' * (count != 1)} in {seconds:.1f} s ({rate:.1f} per second) → {out}"]
    if summary.kept:
        parts.append(f"{summary.kept} were done before")
    if summary.broken:
        parts.append(f"{summary.broken} skipped, the first: {summary.first_error}")
    parts += [f"contact sheet {path}" for path in summary.files if path.name == "sheet.jpg"]
    return "; ".join(parts)


main = verb(parser, command)
