"""Scores on the objects of ROOT/duts_te, which nobody trained on: what both sensors, one alone, and the night give.

``python -m lab.things score MODEL --data ROOT [--out FILE.json]``. Every object is seen in VIEWS views; the first asks,
the others answer. Intervals are of 95 %, by bootstrap over objects. The threshold of a decision is where 5 % of the
things that are not among GALLERY known ones would be taken for one of them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lab.photographs.photographs import Photographs
from lab.photographs.sets import VALIDATION
from lab.things.views import Thing, thing, view
from mutualformer.runtime import zoo
from mutualformer.runtime.files import write_json
from mutualformer.runtime.preprocess import prepare
from mutualformer.runtime.reporting.progress import progress
from mutualformer.runtime.sources.frame import DataError

Array = NDArray[Any]
Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]
Embed = Callable[[Sequence[Pair]], Array]
VIEWS, SEED, NIGHT = 3, 20_261_129, 0.06
GALLERY, FALSE_ACCEPTS, DRAWS = 12, 0.05, 400


def things_of(root: Path) -> list[Thing]:
    """The objects of ROOT/duts_te that are large enough, in order."""
    photographs, found = Photographs(root / VALIDATION), []
    for index in range(len(photographs)):
        try:
            found.append(thing(photographs[index], np.random.default_rng([SEED, 1, index])))
        except DataError:
            continue
    return found


def pairs_of(things: Sequence[Thing], night: float, number: int, side: int) -> list[Pair]:
    """View ``number`` of each thing; the same picture but for the light at any ``night``."""
    pairs = []
    for index, one in enumerate(things):
        rng = np.random.default_rng([SEED, 2, index, number])
        others = [things[int(i)] for i in rng.choice(len(things), 6, replace=False) if i != index]
        pairs.append(view(one, others, side, rng, night))
    return pairs


def without(pairs: Sequence[Pair], what: str) -> list[Pair]:
    """``pairs`` with one picture black: a sensor that is not there."""
    return [(np.zeros_like(a), b) if what == "rgb" else (a, np.zeros_like(b)) for a, b in pairs]


def precisions(queries: Array, answers: Array, asked: Array, known: Array) -> tuple[Array, Array]:
    """Average precision of each query and the place of its first right answer, counted from 0."""
    order = np.argsort(-(queries @ answers.T), axis=1, kind="stable")
    right = known[order] == asked[:, None]
    hits = np.cumsum(right, axis=1) / np.arange(1, right.shape[1] + 1)
    return (hits * right).sum(axis=1) / right.sum(axis=1), right.argmax(axis=1)


def interval(values: Array, groups: Array, rng: np.random.Generator) -> list[float]:
    """95 % of the mean of ``values`` when whole ``groups`` are drawn again."""
    means = np.array([values[groups == group].mean() for group in np.unique(groups)])
    drawn = means[rng.integers(len(means), size=(2000, len(means)))].mean(axis=1)
    return [round(float(value), 4) for value in np.percentile(drawn, (2.5, 97.5))]


def summary(average: Array, places: Array, groups: Array) -> dict[str, Any]:
    """mAP with its interval, and ranks."""
    found: dict[str, Any] = {"map": round(float(average.mean()), 4)}
    found["map_interval"] = interval(average, groups, np.random.default_rng(0))
    return found | {f"r{n}": round(float((places < n).mean()), 4) for n in (1, 5, 10)}


def decision(queries: Array, answers: Array, known: Array) -> dict[str, Any]:
    """The threshold at FALSE_ACCEPTS, and the share of known things that is named rightly at it.

    ``queries`` (N, F): one of each thing; ``answers`` of things ``known``.
    """
    rng, strangers, mine, right = np.random.default_rng(0), [], [], []
    similarity = queries @ answers.T
    for _ in range(DRAWS):
        chosen = rng.choice(len(queries), GALLERY, replace=False)
        columns = np.flatnonzero(np.isin(known, chosen))
        best = similarity[:, columns].max(axis=1)
        name = known[columns[similarity[:, columns].argmax(axis=1)]]
        inside = np.isin(np.arange(len(queries)), chosen)
        strangers.append(best[~inside])
        mine.append(best[inside])
        right.append((name == np.arange(len(queries)))[inside])
    threshold = float(np.quantile(np.concatenate(strangers), 1 - FALSE_ACCEPTS))
    found = (np.concatenate(mine) >= threshold) & np.concatenate(right)
    return {
        "threshold": round(threshold, 4),
        "false_accepts": FALSE_ACCEPTS,
        "found": round(float(found.mean()), 4),
        "gallery": f"{GALLERY} things in {VIEWS - 1} views each, {len(queries) - GALLERY} strangers, {DRAWS} draws",
    }


def score(embed: Embed, things: Sequence[Thing], side: int) -> dict[str, Any]:
    """All conditions of one model, the differences between them, and the threshold of its decisions."""
    day = [pairs_of(things, 1.0, number, side) for number in range(VIEWS)]
    sets = {
        "both": day,
        "colour alone": [without(pairs, "nir") for pairs in day],
        "near-infrared alone": [without(pairs, "rgb") for pairs in day],
        "both, asked at night": [pairs_of(things, NIGHT, 0, side)],
    }
    sets["colour alone, asked at night"] = [without(sets["both, asked at night"][0], "nir")]
    asked, known = np.arange(len(things)), np.tile(np.arange(len(things)), VIEWS - 1)
    found: dict[str, Any] = {}
    each, answers = {}, {}
    for name, views in progress(list(sets.items()), "conditions"):
        features = [embed(pairs) for pairs in views]
        basis = name.partition(", asked")[0]
        if len(features) > 1:
            answers[basis] = np.concatenate(features[1:])
        average, places = precisions(features[0], answers[basis], asked, known)
        each[name] = average
        found[name] = summary(average, places, asked)
        if name == "both":
            found["decision"] = decision(features[0], answers[basis], known)
    rng = np.random.default_rng(0)
    found["both minus"] = {
        name: [round(float((each["both"] - each[name]).mean()), 4), *interval(each["both"] - each[name], asked, rng)]
        for name in each
        if name != "both"
    }
    return found


def embedder(model: str) -> tuple[Embed, Any]:
    """The features of MODEL, and its contract."""
    session = zoo.load(model, device="cpu")

    def embed(pairs: Sequence[Pair]) -> Array:
        rows = [session.run(**prepare(session.contract, *pair))["feature"][0] for pair in pairs]
        return np.stack(rows).astype(np.float64)

    return embed, session.contract


def imagenet(size: int) -> Embed:
    """The features of the same streams as ImageNet left them: maps at strides 16 and 32, averaged, each of unit length.

    A picture that is black has no feature.
    """
    import torch

    from mutualformer.train import registry

    model: Any = registry.build("reid-lite", pretrained=True).eval()

    def embed(pairs: Sequence[Pair]) -> Array:
        rows = []
        for pair in pairs:
            parts = []
            for image, backbone in zip(pair, (model.rgb_backbone, model.nir_backbone), strict=True):
                seen = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
                with torch.inference_mode():
                    x = model.camera_input(torch.from_numpy(seen)[None])
                    x = x if backbone is model.rgb_backbone else x.mean(dim=1, keepdim=True)
                    maps = [torch.nn.functional.normalize(y.mean(dim=(2, 3)), dim=1) for y in backbone(x)]
                parts.append(torch.cat(maps, dim=1)[0].numpy().astype(np.float64) * bool(image.any()))
            row = np.concatenate(parts)
            rows.append(row / np.linalg.norm(row))
        return np.stack(rows)

    return embed


def main(words: Sequence[str]) -> int:
    """Score and print; returns the exit code."""
    parser = argparse.ArgumentParser(prog="lab.things score", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", metavar="MODEL", help="any ReID model, or imagenet:SIDE for its streams as they began")
    parser.add_argument("--data", type=Path, required=True, metavar="ROOT", help="folder with duts_te")
    parser.add_argument("--side", type=int, default=128, help="pixels of a view (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write JSON here too")
    args = parser.parse_args(words)
    kind, _, side = args.model.partition(":")
    embed = imagenet(int(side)) if kind == "imagenet" else embedder(args.model)[0]
    found = score(embed, things_of(args.data), args.side)
    if args.out:
        write_json(args.out, found)
    print(json.dumps(found, indent=1))
    return 0
