"""``mutualformer gallery``: keep known things in one file, and name what a source shows by it.

enrol NAME SOURCE adds views of one thing, match SOURCE names what is seen, list and remove NAME tend the file. In each
frame a thing is the object that stands out most; --whole takes the whole frame instead.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mutualformer.errors import InputError
from mutualformer.runtime import preprocess, zoo
from mutualformer.runtime.commandline.running import verb
from mutualformer.runtime.images.objects import SalientObject, find_objects
from mutualformer.runtime.reporting.tables import aligned
from mutualformer.runtime.session import Session
from mutualformer.runtime.sources.frame import Item, infrared
from mutualformer.runtime.sources.inputs import album, is_address, moments
from mutualformer.runtime.streaming.gallery import Gallery, feature_of
from mutualformer.runtime.streaming.naming import Box, cut
from mutualformer.runtime.untrusted.printable import printable

REID = "reid-lite"  # the model that galleries are made with
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
VIEWS = 8  # frames of a camera or video that are enrolled or matched


class View(NamedTuple):
    """One thing in one frame: what was cut out of both pictures, (h, w, 3) uint8 each."""

    name: str
    box: Box
    rgb: NDArray[np.uint8]
    nir: NDArray[np.uint8]


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


def boxes(item: Item, finder: Session | None) -> list[SalientObject]:
    """The objects that ``finder`` sees, the largest first; none where there is no finder."""
    if finder is None:
        return []
    saliency = finder.run(**preprocess.prepare(finder.contract, item.rgb, item.depth))["saliency"][0]
    return sorted(find_objects(saliency, item.depth)[0], key=lambda one: -one.area)


def views(source: str, finder: Session | None, frames: int, most: int | None) -> Iterator[View]:
    """Up to ``most`` things of each frame of ``source``; the whole frame where none is found."""
    items: Any = moments(source, frames) if is_address(source) else album([source])
    for item in items:
        found = [one.box for one in boxes(item, finder)[:most]] or [WHOLE]
        nir = infrared(item.rgb, item.nir)
        for box in found:
            whole = box == WHOLE
            yield View(item.name, box, *(picture if whole else cut(picture, box) for picture in (item.rgb, nir)))


def enrol(gallery: Gallery, name: str, seen: Iterator[View], session: Session) -> int:
    """Add the views of one thing; returns how many. Raises GalleryError."""
    count = gallery.add((name, feature_of(session, one.rgb, one.nir), one.rgb) for one in seen)
    if not count:
        raise InputError(f"{name}: the source has no frame")
    return count


def matches(gallery: Gallery, seen: Iterator[View], session: Session) -> Iterator[dict[str, Any]]:
    """The answer to each view, in JSON types."""
    for one in seen:
        identity, similarity = gallery.match(feature_of(session, one.rgb, one.nir))
        box = [round(edge, 4) for edge in one.box]
        yield {"frame": one.name, "box": box, "name": identity, "similarity": round(similarity, 4)}


def listed(gallery: Gallery) -> list[dict[str, Any]]:
    """Each identity with its number of views, and the other one that it is most easily taken for."""
    entries = []
    owner = np.array(gallery.identities)
    similarity = gallery.features @ gallery.features.T
    for name in gallery.names:
        mine = owner == name
        entry: dict[str, Any] = {"name": name, "views": int(mine.sum())}
        if not mine.all():
            between = similarity[np.ix_(mine, ~mine)]
            column = int(between.max(axis=0).argmax())
            entry |= {"closest": str(owner[~mine][column]), "similarity": round(float(between.max()), 4)}
        entries.append(entry)
    return entries


def command(args: argparse.Namespace) -> int:
    """Run one of the four; returns the exit code."""
    with contextlib.ExitStack() as stack:
        session = stack.enter_context(zoo.load(args.model))
        fresh = args.verb == "enrol" and not args.gallery.exists()
        gallery = Gallery(session.contract) if fresh else Gallery.load(args.gallery, session.contract)
        if args.verb == "remove":
            print(f"{printable(args.name)}: {gallery.remove(args.name)} views removed")
            gallery.save(args.gallery)
        elif args.verb == "list":
            _show(gallery, args.json)
        else:
            if args.verb == "enrol" and args.whole != gallery.whole:
                if gallery.identities:
                    raise InputError(f"{args.gallery}: {'needs' if gallery.whole else 'was made without'} --whole")
                gallery.whole = args.whole
            finder = None if gallery.whole else stack.enter_context(zoo.load(zoo.DEFAULT))
            seen = views(args.source, finder, args.frames, 1 if args.verb == "enrol" else None)
            if args.verb == "enrol":
                count = enrol(gallery, args.name, seen, session)
                gallery.save(args.gallery)
                known = len(gallery.names)
                things = f"{known} thing{'s' * (known != 1)}"
                print(f"{printable(args.name)}: {count} views in {args.gallery}, which knows {things}")
            else:
                for line in matches(gallery, seen, session):
                    text = f"{line['frame']}: {line['name']} ({line['similarity']:.2f})"
                    print(json.dumps(line) if args.json else printable(text), flush=True)
    return 0


def _show(gallery: Gallery, as_json: bool) -> None:
    entries, decision = listed(gallery), gallery.decision
    if as_json:
        print(json.dumps({"things": entries, "decision": decision}))
        return
    rows = [[str(one.get(key, "")) for key in ("name", "views", "closest", "similarity")] for one in entries]
    print(printable_lines(aligned([["name", "views", "most like", "similarity"], *rows])))
    if decision:
        print(
            f"unknown below {decision['threshold']:.2f}: measured with a gallery of {decision['gallery']}, where "
            f"{decision['false_accepts']:.0%} of the strangers got a name and {decision['found']:.0%} of the known "
            "things the right one"
        )
    else:
        print("this model has no measured threshold: the nearest thing is always the answer")


def printable_lines(text: str) -> str:
    """Names come from a file that anyone may have made: control characters are escaped, line by line."""
    return "\n".join(map(printable, text.splitlines()))


main = verb(parser, command)
