"""``mutualformer stream SOURCE… --model NAME``: live RGB-D in; saliency or identity out, to screen, page and disk.

Exit codes: 0 the source ended or ``--frames`` were done; 1 the camera, the model or a requested recording failed;
2 wrong arguments; 130 and 143 stopped by Ctrl-C or SIGTERM after everything was closed in order.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file: the repository root stands in for this folder on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import contextlib
import json
import logging
import os
from collections.abc import Sequence
from typing import Any

import cv2

from mutualformer.runtime import zoo
from mutualformer.runtime.commandline.arguments import add_access, add_device, add_gallery
from mutualformer.runtime.commandline.running import run_verb
from mutualformer.runtime.sources import listing, opening
from mutualformer.runtime.streaming.console import print_json
from mutualformer.runtime.streaming.run import Outlets, StreamError, stream
from mutualformer.runtime.untrusted.printable import printable

__all__ = ["StreamError", "command", "main", "parser", "stream"]

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
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help="camera address, recording or folder")
    parser.add_argument(
        "--model", metavar="NAME|FILE", help=f"{zoo.HELP}; none: only the camera (default: {zoo.DEFAULT})"
    )
    add_device(parser)
    parser.add_argument("--record", type=Path, metavar="DIR", help="record losslessly into a new folder inside DIR")
    parser.add_argument("--preview", metavar="[HOST:]PORT", help="serve a live page, for example 8080 or 0.0.0.0:8080")
    parser.add_argument(
        "--foxglove",
        nargs="?",
        const="",
        metavar="[HOST:]PORT",
        help="stream live to Foxglove: at the page's address, or one of its own",
    )
    parser.add_argument(
        "--rerun",
        nargs="?",
        const="",
        metavar="FILE",
        help="show the stream in rerun: nothing opens its viewer, X.rrd writes a file, serve (or 0.0.0.0:PORT) serves "
        "viewers elsewhere, rerun+http://HOST:PORT/proxy sends to one",
    )
    add_access(parser)
    parser.add_argument("--frames", type=int, metavar="N", help="stop after N frames of each source")
    add_gallery(parser)
    parser.add_argument("--retries", type=int, default=30, metavar="N", help="attempts to bring a lost camera back")
    parser.add_argument(
        "--no-track", dest="track", action="store_false", help="each frame for itself: no identities, no smoothing"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per frame on standard output")
    parser.add_argument("--quiet", action="store_true", help="no status line and no addresses")
    parser.add_argument("--list", action="store_true", help="list sources and connected cameras, then exit")
    return parser


def command(args: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    if args.list:
        entries = listing.sources()
        # Names of devices are strangers' words.
        text = json.dumps(entries) if args.json else listing.text(entries)
        print("\n".join(map(printable, text.splitlines())))
        return 0
    if not args.sources:
        raise StreamError("SOURCE is missing; --list shows what is connected")
    if args.frames is not None and args.frames < 1:
        raise StreamError(f"--frames is {args.frames}, expected at least 1")
    # OpenCV's workers spin while they wait for the next image: a fifth of our work for no gain at camera sizes.
    cv2.setNumThreads(1)
    outlets = Outlets(
        record=args.record,
        preview=args.preview,
        foxglove=args.foxglove,
        rerun=args.rerun,
        token=args.token,
        token_file=args.token_file,
        tls=tuple(args.tls) if args.tls else None,
        as_json=args.json,
        quiet=args.quiet,
    )
    with contextlib.ExitStack() as stack:
        model = None
        # A gallery needs a ReID model of its own; the default finds salient objects.
        chosen = args.model or (NO_MODEL if args.gallery else _default_model())
        if chosen != NO_MODEL:
            model = stack.enter_context(zoo.load(chosen, device=args.device))
        summary, number = stream(
            args.sources,
            model,
            gallery=args.gallery,
            frames=args.frames,
            retries=args.retries,
            track=args.track,
            outlets=outlets,
        )
    _finish(summary, args.json)
    return 128 + number if number else 0


def _default_model() -> str:
    """The default model, or none where this installation ships no model: said in one line."""
    if zoo.shipped(zoo.DEFAULT) is not None:
        return zoo.DEFAULT
    logging.getLogger("mutualformer").info("no --model, and none is shipped here: only the camera is shown")
    return NO_MODEL


def main(argv: Sequence[str] | None = None) -> int:
    """The verb; returns the exit code."""
    return run_verb(parser(), command, argv)


def _finish(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        # A reader that left early (``| head``) has what it wanted.
        with contextlib.suppress(BrokenPipeError):
            print_json({"type": "summary", **summary}, sys.stdout)
            return
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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
