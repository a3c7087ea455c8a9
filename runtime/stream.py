"""``mutualformer stream SOURCE --model FILE``: live RGB-D in; saliency or identity out, to screen, page and disk.

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
import importlib.util
import json
import os
import signal
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

import cv2

from mutualformer.runtime import cameras
from mutualformer.runtime.cameras import listing
from mutualformer.runtime.cli import run_verb
from mutualformer.runtime.streaming.capture import Retry
from mutualformer.runtime.streaming.console import JsonLines, Reporter, print_json
from mutualformer.runtime.streaming.gallery import Gallery
from mutualformer.runtime.streaming.pipeline import Pipeline, Session
from mutualformer.runtime.streaming.recorder import Recorder
from mutualformer.runtime.streaming.sinks import SinkRunner


class StreamError(ValueError):
    """The run cannot start or go on: one sentence."""


def stream(
    source: str,
    session: Session | None = None,
    *,
    record: Path | None = None,
    preview: str | None = None,
    token: str | None = None,
    rerun: bool = False,
    gallery: Path | None = None,
    frames: int | None = None,
    as_json: bool = False,
    quiet: bool = False,
    retries: int = 30,
) -> tuple[dict[str, Any], int]:
    """Run ``source`` through ``session`` until it ends; returns the summary and the signal that ended it, or 0.

    ``record``: folder to record into from the first frame. ``preview``: HOST:PORT of the page; any host but this
    machine's needs ``token``. ``frames``: stop after so many. Raises StreamError, CameraError, InputError,
    GalleryError.
    """
    match = None
    if gallery is not None:
        if session is None:
            raise StreamError("--gallery needs --model with a reid model")
        match = Gallery.build(gallery, session).match
    pipeline = Pipeline(
        lambda: cameras.open(source), session, frames=frames, match=match, retry=Retry(attempts=retries)
    )
    model = pipeline.snapshot()["model"]
    recorder = Recorder(record or Path("recordings"), on=record is not None, model=model)
    if record is not None or preview is not None:
        pipeline.sinks.append(SinkRunner(recorder))
    if as_json:
        pipeline.sinks.append(SinkRunner(JsonLines(sys.stdout, pipeline.stop), capacity=256))
    if rerun:
        if importlib.util.find_spec("rerun") is None:
            raise StreamError("--rerun needs the package rerun-sdk: pip install 'mutualformer[rerun]'")
        from mutualformer.runtime.streaming.rerun_sink import RerunSink

        pipeline.sinks.append(SinkRunner(RerunSink(), latest=True))
    with contextlib.ExitStack() as stack:
        if preview is not None:
            from mutualformer.runtime.preview.server import Preview

            page = stack.enter_context(Preview(preview, token, pipeline.snapshot, recorder))
            pipeline.sinks.append(SinkRunner(page, latest=True))
            if not quiet:
                print(f"preview: {page.url}", file=sys.stderr, flush=True)
        events = (lambda line: print_json(line, sys.stdout)) if as_json else None
        reporter = Reporter(pipeline.snapshot, events, live_line=not (quiet or as_json) and sys.stderr.isatty())
        caught = stack.enter_context(_signals(pipeline))
        reporter.start()
        try:
            summary = pipeline.run()
        finally:
            reporter.stop()
    if record is not None and recorder.problem:
        raise StreamError(recorder.problem)
    return summary, caught[0] if caught else 0


@contextlib.contextmanager
def _signals(pipeline: Pipeline) -> Iterator[list[int]]:
    """The first SIGINT or SIGTERM ends the stream in order; a second one ends the process on the spot."""
    caught: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if caught:
            os._exit(128 + number)
        caught.append(number)
        pipeline.stop()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mutualformer stream",
        description="Live RGB-D in; saliency or identity out.",
        epilog="sources: "
        + "; ".join(source.example for source in cameras.SOURCES.values())
        + ". Options follow a '?', for example synthetic://?seed=1&fps=15.",
    )
    parser.add_argument("source", nargs="?", metavar="SOURCE", help="camera address, recording or folder")
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help=".onnx or .engine; without it only the camera is shown"
    )
    parser.add_argument("--device", default="auto", help="where the model runs (default: auto)")
    parser.add_argument("--record", type=Path, metavar="DIR", help="record losslessly into a new folder inside DIR")
    parser.add_argument("--preview", metavar="HOST:PORT", help="serve a live page, for example 127.0.0.1:8080")
    parser.add_argument("--token", help="what visitors of the page must show; required unless HOST is this machine")
    parser.add_argument("--frames", type=int, metavar="N", help="stop after N frames")
    parser.add_argument("--gallery", type=Path, metavar="DIR", help="known identities (rgb/ and nir/) for a reid model")
    parser.add_argument("--retries", type=int, default=30, metavar="N", help="attempts to bring a lost camera back")
    parser.add_argument("--rerun", action="store_true", help="also show the stream in the rerun viewer")
    parser.add_argument("--json", action="store_true", help="one JSON object per frame on standard output")
    parser.add_argument("--quiet", action="store_true", help="no status line")
    parser.add_argument("--list", action="store_true", help="list sources and connected cameras, then exit")
    return parser


def _command(args: argparse.Namespace) -> int:
    if args.list:
        entries = listing.sources()
        print(json.dumps(entries) if args.json else listing.text(entries))
        return 0
    if args.source is None:
        raise StreamError("SOURCE is missing; --list shows what is connected")
    if args.frames is not None and args.frames < 1:
        raise StreamError(f"--frames is {args.frames}, expected at least 1")
    # OpenCV's workers spin while they wait for the next image: a fifth of our work for no gain at camera sizes.
    cv2.setNumThreads(1)
    with contextlib.ExitStack() as stack:
        model = None
        if args.model is not None:
            from mutualformer.runtime import session

            model = stack.enter_context(session.load(args.model, device=args.device))
        summary, number = stream(
            args.source,
            model,
            record=args.record,
            preview=args.preview,
            token=args.token,
            rerun=args.rerun,
            gallery=args.gallery,
            frames=args.frames,
            as_json=args.json,
            quiet=args.quiet,
            retries=args.retries,
        )
    _finish(summary, args.json)
    return 128 + number if number else 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_verb(_parser(), _command, argv)


def _finish(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        # A reader that left early (``| head``) has what it wanted.
        with contextlib.suppress(BrokenPipeError):
            print_json({"type": "summary", **summary}, sys.stdout)
            return
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    total, infer = summary["latency_ms"]["total"], summary["latency_ms"]["infer"]
    print(
        f"{summary['state']}: {summary['processed']} frames at {summary['fps']:.1f} fps, {summary['dropped']} dropped; "
        f"total p50 {total['p50']:.1f} p95 {total['p95']:.1f} ms, model {infer['p50']:.1f} ms",
        file=sys.stderr,
    )
    path = summary["sinks"].get("recorder", {}).get("path")
    if path:
        print(f"recorded: {path}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
