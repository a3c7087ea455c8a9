"""``python -m lab.things heads --data ROOT --out DIR``: everything behind the ImageNet streams.

1. Views of COUNT things go through both streams once; the maps are kept.
2. Each stream's projection is set in closed form: directions in which views of one thing differ are shrunk, those in
   which things differ are kept (whitening learned from pairs; Radenović et al., ECCV 2016).
3. MutualFormer, pooling and trust are trained on the kept maps by contrast, with one modality missing at times.

The streams stay as ImageNet left them. Results are written as a checkpoint with its card.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lab.photographs.photographs import Photographs
from lab.photographs.sets import TRAIN
from lab.things.infrared import SIMULATED
from lab.things.views import thing, view
from mutualformer.runtime.card import limits
from mutualformer.runtime.sources.frame import DataError
from mutualformer.train import checkpoint, registry
from mutualformer.train.evaluation.seen import prints
from mutualformer.train.fitting.preparation.ready import file_list
from mutualformer.train.fitting.reid_task import contrastive
from mutualformer.train.fitting.task import Average

log = logging.getLogger("mutualformer")
SIZE = (160, 160)  # of the shipped model: small crops of a camera hold no more, and two engines share one CPU
GROUP = 8  # things whose photographs serve each other as background
FLAT = (0, 128)  # grey levels of a picture without content, which stands for a missing sensor
NO_NIR, NO_COLOUR = 0.15, 0.1  # shares of the samples that lack one
TEMPERATURE = 0.07  # of the contrast
WHOLE = 2.0  # weight of the whole feature, which is what is compared in use; the streams alone count 1 each
SHRINK = 0.3  # added to every correlation with itself before the matrix is inverted: few pairs, many channels


class Maps:
    """Maps of one stream: ``fine`` (N, 112, h, w) and ``coarse`` (N, 320, h/2, w/2), float16."""

    def __init__(self, fine: Tensor, coarse: Tensor) -> None:
        self.fine, self.coarse = fine, coarse

    def pooled(self) -> NDArray[np.float64]:
        """(N, 432): what the stream's projection sees while every position counts alike."""
        parts = [x.float().mean(dim=(2, 3)) for x in (self.fine, self.coarse)]
        return torch.cat(parts, dim=1).numpy().astype(np.float64)

    def take(self, rows: Tensor) -> list[Tensor]:
        """The maps of ``rows``, float32."""
        return [x[rows].float().contiguous(memory_format=torch.channels_last) for x in (self.fine, self.coarse)]


def compiled(model: Any, side: int) -> tuple[Any, Any]:
    """Both streams with their norms folded in: (B, side, side, 3) uint8 → two maps."""

    class Stream(torch.nn.Module):
        def __init__(self, backbone: Any, channels: int) -> None:
            super().__init__()
            self.camera, self.channels = model.camera_input, channels
            self.first = torch.nn.Sequential(backbone.conv_stem, backbone.bn1, *backbone.blocks[:5])
            self.last = torch.nn.Sequential(*backbone.blocks[5:])

        def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
            x = self.camera(image)
            fine = self.first(x if self.channels == 3 else x.mean(dim=1, keepdim=True))
            return fine, self.last(fine)

    example = torch.zeros(GROUP, side, side, 3, dtype=torch.uint8)
    streams = [Stream(model.rgb_backbone, 3).eval(), Stream(model.nir_backbone, 1).eval()]
    traced = [torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(one, example))) for one in streams]
    return traced[0], traced[1]


@torch.inference_mode()
def collect(model: Any, root: Path, count: int, views: int, side: int, seed: int) -> tuple[Maps, Maps]:
    """Maps of ``views`` views of each of ``count`` things; rows views·i … views·i + views − 1 show thing i.

    The last rows of each, len(FLAT), are of pictures without content.
    """
    photographs, streams = Photographs(root / TRAIN), compiled(model, side)
    order = np.random.default_rng([seed, 1]).permutation(len(photographs))
    found: tuple[list[Any], list[Any]] = ([], [])
    group, done, began = [], 0, time.time()
    for index in order:
        try:
            group.append(thing(photographs[int(index)], np.random.default_rng([seed, 2, int(index)])))
        except DataError:
            continue
        if len(group) < GROUP:
            continue
        for at, one in enumerate(group):
            others = [other for other in group if other is not one]
            rng = np.random.default_rng([seed, 3, done + at])
            pairs = [view(one, others, side, rng) for _ in range(views)]
            for kept, stream, pictures in zip(found, streams, zip(*pairs, strict=True), strict=True):
                kept.append([x.half() for x in stream(torch.from_numpy(np.stack(pictures)))])
        done, group = done + GROUP, []
        if done % 200 == 0:
            log.info("%d of %d things, %.0f s", done, count, time.time() - began)
        if done >= count:
            break
    flat = np.stack([np.full((side, side, 3), level, np.uint8) for level in FLAT])
    for kept, stream in zip(found, streams, strict=True):
        kept.append([x.half() for x in stream(torch.from_numpy(flat))])
    colour, infrared = (Maps(*(torch.cat(level) for level in zip(*kept, strict=True))) for kept in found)
    return colour, infrared


def whitening(features: NDArray[np.float64], views: int, width: int) -> tuple[NDArray[np.float64], Any, Any]:
    """(N, C), ``views`` rows a thing → the projection (width, C), and mean and deviation of what it gives."""
    things = features.reshape(-1, views, features.shape[1])
    inside = (things - things.mean(axis=1, keepdims=True)).reshape(features.shape)
    within = inside.T @ inside / (len(features) * (views - 1) / views)
    scale = np.diag(within) ** -0.5  # channels differ in size by far more than in worth
    values, vectors = np.linalg.eigh(within * np.outer(scale, scale) + SHRINK * np.eye(len(within)))
    root = vectors @ np.diag(values**-0.5) @ vectors.T @ np.diag(scale)
    spread, axes = np.linalg.eigh(root @ np.cov(features.T) @ root.T)
    projection = axes[:, np.argsort(-spread)[:width]].T @ root
    answer = features @ projection.T
    return projection, answer.mean(axis=0), answer.std(axis=0)


@torch.no_grad()
def begin(model: Any, streams: Sequence[Maps], views: int) -> None:
    """Set the projections of both streams and their norms; the fused stream counts little at first."""
    for index, maps in enumerate(streams):
        features = maps.pooled()[: -len(FLAT)]
        projection, mean, deviation = whitening(features, views, model.project[index].out_features)
        norm = model.necks[index].norm
        model.project[index].weight.copy_(torch.from_numpy(projection))
        norm.running_mean.copy_(torch.from_numpy(mean))
        norm.running_var.copy_(torch.from_numpy(deviation**2))
        norm.weight.copy_(torch.from_numpy(deviation))  # the whitened scale, on which within a thing all vary alike
    model.trust.bias.copy_(torch.tensor([0.4, 0.0, -1.5]))


def train(model: Any, streams: Sequence[Maps], views: int, batch: int, minutes: float, rate: float, seed: int) -> int:
    """Contrast on the kept maps until the clock ends it; the model gets the averaged weights. Returns the steps."""
    rng, began, step = np.random.default_rng([seed, 4]), time.time(), 0
    things = (len(streams[0].fine) - len(FLAT)) // views
    flat = len(streams[0].fine) - len(FLAT)
    parts = {name: value for name, value in model.named_parameters() if "backbone" not in name}
    careful = [value for name, value in parts.items() if name.startswith(("project.0", "project.1", "necks", "trust"))]
    rest = [value for name, value in parts.items() if all(value is not other for other in careful)]
    optimizer = torch.optim.AdamW(
        [{"params": rest, "peak": rate}, {"params": careful, "peak": 0.4 * rate}], lr=rate, weight_decay=0.02
    )
    model.train()
    for module in (model.rgb_backbone, model.nir_backbone, model.necks[0], model.necks[1]):
        module.eval()  # whitened statistics stay
    average = Average(model, 0.97)
    while (progress := (time.time() - began) / (60 * minutes)) < 1:
        chosen = rng.choice(things, batch // 2, replace=False)
        rows = np.stack([chosen * views + pick for pick in _two(rng, views, len(chosen))], axis=1).ravel()
        draw = rng.random(len(rows))
        lost = (draw > 1 - NO_COLOUR, draw < NO_NIR)
        picked = [
            torch.from_numpy(np.where(gone, flat + rng.integers(len(FLAT), size=len(rows)), rows)) for gone in lost
        ]
        label = torch.from_numpy(np.repeat(chosen, 2))
        output = model.identify(*(maps.take(where) for maps, where in zip(streams, picked, strict=True)))
        units = [F.normalize(x.float(), dim=1) for x in output.normed]
        shown = [torch.from_numpy(~gone) for gone in lost] + 2 * [torch.ones(len(rows), dtype=torch.bool)]
        each = [contrastive(x[ok], label[ok], TEMPERATURE) for x, ok in zip(units, shown, strict=True)]
        loss = (sum(each[:-1]) + WHOLE * each[-1]) / (len(each) - 1 + WHOLE)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * min(1.0, (step + 1) / 15) * 0.5 * (1 + np.cos(np.pi * progress))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(parts.values()), 2.0)
        optimizer.step()
        step += 1
        average.update(model, step)
        if step % 5 == 0:
            log.info("step %d, %.0f %%: %s", step, 100 * progress, [round(float(x), 3) for x in each])
    if step:
        model.load_state_dict(average.state)
    return step


def _two(rng: np.random.Generator, views: int, count: int) -> NDArray[np.int64]:
    """Two different views of each of ``count`` things, (2, count)."""
    first = rng.integers(views, size=count)
    return np.stack([first, (first + 1 + rng.integers(views - 1, size=count)) % views])


def main(words: Sequence[str]) -> int:
    """Collect, begin, train, save; returns the exit code."""
    parser = argparse.ArgumentParser(prog="lab.things heads", description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="ROOT", help="folder with duts_tr")
    add("--out", type=Path, required=True, metavar="DIR")
    for name, default in (("things", 3000), ("views", 2), ("side", 128), ("batch", 128), ("seed", 0)):
        add(f"--{name}", type=int, default=default)
    add("--minutes", type=float, default=10.0, help="of training on the kept maps")
    add("--rate", type=float, default=1e-3)
    args = parser.parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    cv2.setNumThreads(1)
    torch.manual_seed(args.seed)
    model: Any = registry.build("reid-lite", pretrained=True, input_size=list(SIZE)).eval()
    args.out.mkdir(parents=True, exist_ok=True)
    kept = args.out / "maps.pt"
    if kept.is_file():
        values = torch.load(kept, weights_only=True)
        streams = Maps(*values[:2]), Maps(*values[2:])
    else:
        streams = collect(model, args.data, args.things, args.views, args.side, args.seed)
        torch.save([x for maps in streams for x in (maps.fine, maps.coarse)], kept)
    begin(model, streams, args.views)
    photographs = Photographs(args.data / TRAIN)
    facts = {
        "train": f"objects of {len(photographs)} photographs (DUTS-TR, Wang et al., CVPR 2017: published for research)",
        "samples": f"{args.things} things in {args.views} views each, at {args.side} pixels",
        "near-infrared": SIMULATED,
        "pretrained": "both streams are EfficientNet-Lite0 as ImageNet left it (Apache-2.0)",
        "files_sha256": file_list(photographs),
    }
    recipe = {"name": "lab/things/heads.py", **{key: str(value) for key, value in vars(args).items() if key != "data"}}
    card = {"data": facts, "recipe": recipe, "prints": prints(photographs), "limits": limits("reid", "photographs")}
    checkpoint.save(args.out / "begun.safetensors", model, card)
    steps = train(model, streams, args.views, args.batch, args.minutes, args.rate, args.seed)
    card["recipe"]["steps_done"] = steps
    checkpoint.write_markdown(checkpoint.save(args.out / "model.safetensors", model, card))
    return 0
