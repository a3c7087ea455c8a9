"""``mutualformer fit MODEL --data DATA --out DIR``: train a model and write its checkpoint and card."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if not __package__:  # run as a file: the repository root takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

# Threads that spin at barriers starve whoever shares the cores with them; must be set before torch starts OpenMP.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import dataclasses
import json
import time
import warnings
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

import lightning
import torch
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn

from mutualformer.runtime.data.item import DataError
from mutualformer.runtime.data.spec import open_data, parse
from mutualformer.train import card, checkpoint, registry
from mutualformer.train.backbone import PretrainedUnavailable
from mutualformer.train.data.compositing.sets import PhotoRoot
from mutualformer.train.evaluate import evaluate_model
from mutualformer.train.fitting import config as plan
from mutualformer.train.fitting.batches import BatchSource, SodBatches, loader
from mutualformer.train.fitting.photo_batches import PhotoBatches
from mutualformer.train.fitting.pointwise import use_products
from mutualformer.train.fitting.recipes import RECIPES, Recipe, recipe
from mutualformer.train.fitting.schedule import Schedule
from mutualformer.train.fitting.sync_norm import synchronise
from mutualformer.train.fitting.task import SodTask, TrainingTask
from mutualformer.train.fitting.validation import Validation


class FitError(ValueError):
    """A run that cannot be started as asked."""


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """One training run. ``overrides``: the registry's; ``validate``: DATA for the card's metrics or None."""

    model: str
    data: str
    out: Path
    recipe: Recipe
    seed: int = 0
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)
    validate: str | None = None
    resume: bool = False
    precision: str = "32-true"
    accumulate: int = 1
    workers: int = 1
    save_every: int = 200
    validate_every: int = 400


class Save(Callback):
    """Keeps ``last.ckpt``: written beside and renamed, so that a kill at any moment leaves a whole file."""

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every, self.saved = folder, every, 0

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        step = trainer.global_step
        if step and step % self.every == 0 and step != self.saved:
            self.saved = step
            temporary = self.folder / ".last.ckpt.part"
            trainer.save_checkpoint(temporary, weights_only=False)  # the optimiser too
            if trainer.is_global_zero:
                os.replace(temporary, self.folder / "last.ckpt")


def _photo_root(data: str) -> PhotoRoot | None:
    """The folder of ``photo:ROOT[?teacher=DIR][&rendered=N]``, None for any other DATA."""
    if not data.startswith("photo:"):
        return None
    body, _, query = data.removeprefix("photo:").partition("?")
    return PhotoRoot(body, dict(parse_qsl(query)).get("teacher"))


def _source(config: FitConfig, spec: registry.ModelSpec) -> BatchSource:
    height, width = spec.input_size
    photo = _photo_root(config.data)
    if photo is not None:
        count = int(dict(parse_qsl(config.data.partition("?")[2])).get("rendered", "300"))
        rendered = open_data(f"synthetic:{count}?seed=1", "sod", (320, 320), cache=True) if count else None
        return PhotoBatches(photo.train, photo.sensor, rendered, config.recipe.batch, config.seed)
    largest = max(side for _, side in config.recipe.stages) if config.recipe.stages else height
    size = (largest, max(32, round(largest * width / height / 32) * 32))
    data = open_data(config.data, spec.task, size, cache=True, split="train")
    if spec.task == "reid":
        from mutualformer.train.fitting.reid_batches import ReidBatches

        return ReidBatches(data, config.recipe.batch, config.seed, spec.input_size)  # type: ignore[arg-type]
    return SodBatches(data, config.recipe.batch, config.recipe.augmentation, config.seed, aspect=width / height)


def _task(model: nn.Module, config: FitConfig, schedule: Schedule) -> TrainingTask:
    if model.spec.task == "reid":
        from mutualformer.train.fitting.reid_task import ReidTask

        return ReidTask(model, config.recipe, schedule)
    return SodTask(model, config.recipe, schedule)


def fit(config: FitConfig) -> Path:
    """Train and return the path of ``model.safetensors``; its card is beside it, logs and checkpoints below ``out``.

    The same seed, recipe and number of processes give the same weights on a CPU, also after ``resume``, unless the
    recipe's time budget cut the run short.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))  # set by torchrun
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if world > 1 and config.recipe.minutes:
        raise FitError("a time budget ends processes at different steps; with several processes give --minutes 0")
    spec = registry.spec(config.model)
    checkpoints = config.out / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    last = checkpoints / "last.ckpt"
    start, resume_from = 0, None
    if config.resume:
        if not last.is_file():
            raise FitError(f"{last}: nothing to resume from; run without --resume to start anew")
        changed = plan.difference(config.out, config)
        if changed:
            raise FitError(f"{config.out}: the run to resume was begun with {changed}; resume it as it was begun")
        start = int(torch.load(last, map_location="cpu", weights_only=True)["global_step"])
        resume_from = str(last)
    elif rank == 0:
        plan.keep(config.out, config)

    lightning.seed_everything(config.seed, verbose=False)
    overrides = dict(config.overrides)
    began = time.time()
    source = _source(config, registry.build(config.model, **{**overrides, "pretrained": False}).spec)
    if spec.task == "reid":
        overrides.setdefault("num_classes", source.num_classes)  # type: ignore[attr-defined]
    rendered = time.time() - began
    torch.manual_seed(config.seed)
    model = registry.build(config.model, **overrides).train()
    model = model.to(memory_format=torch.channels_last)
    if not torch.cuda.is_available():
        use_products(model)
    if world > 1:
        model = synchronise(model)
    schedule = Schedule(config.recipe, model.spec.input_size[0])
    task = _task(model, config, schedule)
    batches = loader(source, schedule, config.recipe.batch, start, rank, world, config.accumulate, config.workers)
    callbacks: list[Callback] = [Save(checkpoints, config.save_every), TQDMProgressBar(refresh_rate=10)]
    photo = _photo_root(config.data)
    if photo is not None and photo.validation is not None and rank == 0:
        callbacks.append(Validation(photo.validation_sets(), config.out, config.validate_every))
    trainer = lightning.Trainer(
        max_steps=config.recipe.steps,
        max_epochs=-1,
        accelerator="auto" if torch.cuda.is_available() else "cpu",
        devices=local,
        num_nodes=world // local,
        strategy="auto" if world == 1 else "ddp_find_unused_parameters_true" if spec.task == "reid" else "ddp",
        precision=config.precision,  # type: ignore[arg-type]
        accumulate_grad_batches=config.accumulate,
        gradient_clip_val=config.recipe.clip or None,
        callbacks=callbacks,
        logger=TensorBoardLogger(str(config.out), name="logs", version=""),
        log_every_n_steps=10,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    began = time.time()
    if start >= config.recipe.steps:  # broken off between the last step and the model: Lightning would train on
        task.restore(torch.load(last, map_location="cpu", weights_only=True))
    else:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module="lightning")
            trainer.fit(task, batches, ckpt_path=resume_from, weights_only=True)
    steps = max(trainer.global_step, start)
    trained = time.time() - began
    path = config.out / "model.safetensors"
    if rank == 0:
        model = task.finish()
        metrics: dict[str, Any] = {}
        if config.validate:
            metrics = {"data": config.validate, **evaluate_model(model, config.validate)}
        facts = {
            "data": {"train": config.data, "samples": len(source), "seed": config.seed},
            "recipe": {
                **dataclasses.asdict(config.recipe),
                "steps_done": steps,
                "cut_by_clock": steps < config.recipe.steps,
                "precision": config.precision,
                "processes": world,
                "accumulate": config.accumulate,
                "seconds": {"data": round(rendered, 1), "training": round(trained, 1)},
                "resumed_at_step": start,
            },
            "metrics": metrics,
            "limits": card.limits(spec.task, config.data),
        }
        checkpoint.save(path, model, facts)
        card.write_markdown(path)
    return path


def _options(pairs: Sequence[str]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise FitError(f"--set {pair!r}: expected option=value")
        try:
            made[key] = json.loads(value)
        except ValueError:
            made[key] = value
    return made


def held_out(data: str, count: int) -> str | None:
    """Synthetic data validates on scenes of a seed nobody trains with; other data need ``--validate``."""
    kind, _, options = parse(data)
    return f"synthetic:{count}?seed={900_000 + int(options.get('seed', 0))}" if kind == "synthetic" else None


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="mutualformer fit", description=__doc__)
    made.add_argument("model", metavar="MODEL", help=f"one of {', '.join(registry.list_models())}")
    made.add_argument("--data", required=True, help="synthetic:N[?seed=S], a folder, rgbd:ROOT/NAME+NAME, or a sum A+B")
    made.add_argument(
        "--out", required=True, type=Path, help="folder for model.safetensors, its card (.json, .md), logs"
    )
    made.add_argument("--recipe", default="default", help=f"one of {', '.join(RECIPES)} (default: default)")
    made.add_argument("--steps", type=int, help="optimiser steps instead of the recipe's")
    made.add_argument("--minutes", type=float, help="time budget instead of the recipe's, 0 = none")
    made.add_argument("--batch", type=int, help="global batch size instead of the recipe's")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--validate", help="DATA for the metrics in the card; synthetic data: 60 held-out scenes; 'none'")
    made.add_argument("--resume", action="store_true", help="go on from out/checkpoints/last.ckpt")
    made.add_argument("--precision", default="32-true", help="Lightning's: 32-true, bf16-mixed, 16-mixed")
    made.add_argument(
        "--accumulate", type=int, default=1, help="parts in which a batch is worked through (batch norm sees the parts)"
    )
    made.add_argument("--workers", type=int, default=1, help="processes that prepare batches")
    made.add_argument("--save-every", type=int, default=200, help="steps between checkpoints for --resume")
    made.add_argument("--ablation", action="store_true", help="train every fusion over --seeds and write the table")
    made.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        metavar="S",
        help="train once per seed (one number N: seeds 0 … N-1) below OUT and tell the spread",
    )
    made.add_argument("--latency", action="store_true", help="ablation table: time each fusion on this machine too")
    made.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        dest="options",
        help="a model option, such as fusion=concat or input_size=[256,256]",
    )
    return made


def configured(arguments: argparse.Namespace) -> FitConfig:
    """The run that the command line describes. Raises ValueError."""
    chosen = recipe(arguments.recipe)
    changes = {"steps": arguments.steps, "minutes": arguments.minutes, "batch": arguments.batch}
    chosen = dataclasses.replace(chosen, **{key: value for key, value in changes.items() if value is not None})
    validate = arguments.validate if arguments.validate else held_out(arguments.data, 60)
    return FitConfig(
        model=arguments.model,
        data=arguments.data,
        out=arguments.out,
        recipe=chosen,
        seed=arguments.seed,
        overrides=_options(arguments.options),
        validate=None if validate == "none" else validate,
        resume=arguments.resume,
        precision=arguments.precision,
        accumulate=arguments.accumulate,
        workers=arguments.workers,
        save_every=arguments.save_every,
    )


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    try:
        config = configured(arguments)
        if arguments.ablation or arguments.seeds:
            from mutualformer.train.ablation import run

            return run(config, arguments.seeds, arguments.ablation, arguments.latency)
        path = fit(config)
    except (ValueError, DataError, PretrainedUnavailable) as error:
        print(f"fit: {error}", file=sys.stderr)
        return 1
    if int(os.environ.get("RANK", "0")) == 0:
        metrics = checkpoint.read_card(path)["metrics"]
        print(json.dumps({"checkpoint": str(path), "metrics": metrics}, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
