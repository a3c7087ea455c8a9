"""``mutualformer gallery``: keep known things in one file, and name what a source shows by it.

enrol NAME SOURCE adds views of one thing, match SOURCE names what is seen, list and remove NAME tend the file. In each
frame a thing is the object that stands out most; --whole takes the whole frame instead.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.errors import InputError
from mutualformer.runtime import preprocess, zoo
from mutualformer.runtime.commandline.running import verb
from mutualformer.runtime.images.objects import find_objects
from mutualformer.runtime.session import Session
from mutualformer.runtime.sources.frame import Item, infrared
from mutualformer.runtime.sources.inputs import album, is_address, moments
from mutualformer.runtime.streaming.gallery import Gallery
from mutualformer.runtime.streaming.naming import Box, cut
from mutualformer.runtime.untrusted.printable import printable

REID = "reid-lite"  # the model that galleries are made with
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
VIEWS = 8  # frames of a camera or video that are enrolled or matched


# One thing in one frame: the frame's name, its box, and what is cut out of both pictures, (h, w, 3) uint8 each.
View = tuple[str, Box, NDArray[np.uint8], NDArray[np.uint8]]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="mutualformer gallery", description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="{enrol,match,list,remove}")
    about = {
        "enrol": "add views of one thing",
        "match": "name what a source shows",
        "list": "what the file knows",
        "remove": "forget a thing",
    }
    for word, text in about.items():
        add = verbs.add_parser(word, help=text, description=text).add_argument
        if word in ("enrol", "remove"):
            add("name", metavar="NAME")
        if word in ("enrol", "match"):
            add("source", metavar="SOURCE", help="pictures, pairs:RGB,NIR?nir=1, a camera, a video")
            add("--frames", type=int, default=VIEWS, metavar="N", help="of a camera (default: %(default)s)")
        if word == "enrol":
            add("--whole", action="store_true", help="the whole frame is the thing")
        add("--gallery", type=Path, default=Path("gallery.npz"), metavar="FILE", help="(default: %(default)s)")
        add("--model", default=REID, metavar="NAME|FILE", help="ReID model (default: %(default)s)")
        add("--json", action="store_true", help="print JSON")
    return parser


def boxes(item: Item, finder: Session | None, most: int | None) -> list[Box]:
    """The ``most`` largest objects that ``finder`` sees; the whole frame where there is none, or no finder."""
    if finder is None:
        return [WHOLE]
    objects, _ = find_objects(preprocess.answer(finder, item.rgb, item.depth), item.depth)
    return [one.box for one in sorted(objects, key=lambda one: -one.area)[:most]] or [WHOLE]


def views(source: str, finder: Session | None, frames: int, most: int | None) -> Iterator[View]:
    """Up to ``most`` things of each frame of ``source``; the whole frame where none is found."""
    items: Any = moments(source, frames) if is_address(source) else album([source])
    for item in items:
        for box in boxes(item, finder, most):
            yield item.name, box, cut(item.rgb, box), cut(infrared(item.rgb, item.nir), box)


def command(args: argparse.Namespace) -> int:
    """Run one of the four; returns the exit code."""
    with contextlib.ExitStack() as stack:
        session = stack.enter_context(zoo.load(args.model))
        fresh = args.verb == "enrol" and not args.gallery.exists()
        gallery = Gallery(session.contract) if fresh else Gallery.load(args.gallery, session.contract)
        if args.verb == "remove":
            print(f"{printable(args.name)}: {gallery.remove(args.name)} views removed")
            gallery.save(args.gallery)
            return 0
        if args.verb == "list":
            _show(gallery, args.json)
            return 0
        if args.verb == "enrol" and args.whole != gallery.whole:
            if gallery.identities:
                raise InputError(f"{args.gallery}: {'needs' if gallery.whole else 'was made without'} --whole")
            gallery.whole = args.whole
        finder = None if gallery.whole else stack.enter_context(zoo.load(zoo.DEFAULT))
        seen = views(args.source, finder, args.frames, 1 if args.verb == "enrol" else None)
        if args.verb == "enrol":
            count = gallery.add((args.name, preprocess.answer(session, rgb, nir), rgb) for _, _, rgb, nir in seen)
            if not count:
                raise InputError(f"{args.source}: has no frame")
            gallery.save(args.gallery)
            print(f"{printable(args.name)}: {count} views in {args.gallery}; things known: {len(gallery.names)}")
            return 0
        for frame, box, rgb, nir in seen:
            name, similarity = gallery.match(preprocess.answer(session, rgb, nir))
            edges = [round(edge, 4) for edge in box]
            line = {"frame": frame, "box": edges, "name": name, "similarity": round(similarity, 4)}
            text = json.dumps(line) if args.json else printable(f"{frame}: {name} ({similarity:.2f})")
            print(text, flush=True)
    return 0


def _show(gallery: Gallery, as_json: bool) -> None:
    things, decision = Counter(gallery.identities), gallery.decision
    if as_json:
        print(json.dumps({"things": things, "decision": decision}))
        return
    for name, count in things.items():
        print(f"{printable(name)}: {count} views")  # anyone may have made the file, with any name in it
    if decision:
        print(
            f"unknown below {decision['threshold']:.2f}: measured with a gallery of {decision['gallery']}, where "
            f"{decision['false_accepts']:.0%} of the strangers got a name and {decision['found']:.0%} of the known "
            "things the right one"
        )
    else:
        print("this model has no measured threshold: the nearest thing is always the answer")


main = verb(parser, command)
