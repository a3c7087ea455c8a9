"""``mutualformer stream SOURCE… --model NAME``: live RGB-D in; saliency or identity out, to screen, page and disk.

Exit codes: 0 the source ended or ``--frames`` were done; 1 the camera, the model or a requested recording failed;
2 wrong arguments; 130 and 143 stopped by Ctrl-C or SIGTERM after everything was closed in order.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import cv2

from mutualformer.runtime import zoo
from mutualformer.runtime.commandline.arguments import add_access, add_device, add_gallery, rarely_needed
from mutualformer.runtime.commandline.running import unread, verb
from mutualformer.runtime.sources import listing, opening
from mutualformer.runtime.streaming.console import print_json
from mutualformer.runtime.streaming.run import StreamError as StreamError
from mutualformer.runtime.streaming.run import stream
from mutualformer.runtime.untrusted.printable import printable

NO_MODEL = "none"  # --model none: only the camera


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="mutualformer stream",
        description="Live RGB-D in; saliency or identity out.",
        epilog="sources: "
        + "; ".join(source.example for source in opening.SOURCES.values())
        + ". Options follow a '?', for example synthetic://?seed=1&fps=15. Several sources share model and page.",
    )
    add = parser.add_argument
    add("sources", nargs="*", metavar="SOURCE", help="camera address, recording or folder")
    add("--model", metavar="NAME|FILE", help=f"{zoo.HELP}; none: only the camera (default: {zoo.DEFAULT})")
    add("--record", type=Path, metavar="DIR", help="record into a new folder inside DIR")
    add("--compress", action="store_true", help="record colour as JPEG and depth as PNG: a fraction of the size")
    add("--preview", metavar="[HOST:]PORT", help="serve a live page, for example 8080 or 0.0.0.0:8080")
    foxglove = "stream to Foxglove: at the page's address, or at one of its own"
    add("--foxglove", nargs="?", const="", metavar="[HOST:]PORT", help=foxglove)
    rerun = "show in rerun: no value starts the viewer; X.rrd, serve, 0.0.0.0:PORT, rerun+http://HOST:PORT/proxy"
    add("--rerun", nargs="?", const="", metavar="TARGET", help=rerun)
    add("--frames", type=int, metavar="N", help="stop after N frames of each source")
    add("--json", action="store_true", help="print one JSON object per frame on standard output")
    add("--list", action="store_true", help="list sources and connected cameras, then exit")
    add_gallery(parser)
    rare = rarely_needed(parser)
    add_device(parser, rare)
    add_access(rare)
    add = rare.add_argument
    add("--record-minutes", type=float, metavar="N", help="end a recording after N minutes")
    add("--no-track", dest="track", action="store_false", help="no identities and no smoothing from frame to frame")
    add("--quiet", action="store_true", help="no status line and no addresses")
    return parser


def command(args: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    if args.list:
        entries = listing.sources()
        # Devices choose their own names: escape control characters.
        text = json.dumps(entries) if args.json else listing.text(entries)
        print("\n".join(map(printable, text.splitlines())))
        return 0
    if not args.sources:
        raise StreamError("SOURCE is missing; --list shows what is connected")
    if args.frames is not None and args.frames < 1:
        raise StreamError(f"--frames is {args.frames}, expected at least 1")
    # OpenCV's worker threads spin while they wait for the next image; they cost a fifth of our work at camera sizes.
    cv2.setNumThreads(1)
    if args.record_minutes is not None and not args.record_minutes > 0:
        raise StreamError(f"--record-minutes is {args.record_minutes:g}, expected more than 0")
    names = ("record", "compress", "record_minutes", "preview", "foxglove", "rerun", "token", "token_file", "quiet")
    same = {name: getattr(args, name) for name in names}
    outlets = {**same, "tls": tuple(args.tls) if args.tls else None, "as_json": args.json}
    with contextlib.ExitStack() as stack:
        model = None
        default = zoo.shipped(zoo.DEFAULT)  # None where this installation ships no model
        # A gallery needs a ReID model, which the default is not.
        chosen = args.model or (NO_MODEL if args.gallery or default is None else zoo.DEFAULT)
        if chosen != NO_MODEL:
            model = stack.enter_context(zoo.load(chosen, device=args.device))
        finder = None
        if args.gallery and args.gallery.is_file() and default is not None:
            finder = stack.enter_context(zoo.load(zoo.DEFAULT, device=args.device))
        options = {name: getattr(args, name) for name in ("gallery", "frames", "track")}
        summary, number = stream(args.sources, model, finder=finder, **outlets, **options)
    _finish(summary, args.json)
    return 128 + number if number else 0


main = verb(parser, command)


def _finish(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        try:
            print_json({"type": "summary", **summary}, sys.stdout)
        except BrokenPipeError:  # the reader went away (``| head``), which is no failure
            unread()
        return
    for one in summary.get("sources", [summary]):
        total, infer = one["latency_ms"]["total"], one["latency_ms"]["infer"]
        label = f"{printable(one['source'])}: " if "sources" in summary else ""
        print(
            f"{label}{one['state']}: {one['processed']} frames at {one['fps']:.1f} fps, {one['dropped']} dropped; "
            f"total p50 {total['p50']:.1f} p95 {total['p95']:.1f} ms, model {infer['p50']:.1f} ms",
            file=sys.stderr,
        )
        path = one["sinks"].get("recorder", {}).get("path")
        if path:
            print(f"recorded: {printable(path)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
