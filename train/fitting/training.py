"""One training run, from its configuration to ``model.safetensors``."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import safetensors
import torch
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn

from mutualformer.runtime import zoo
from mutualformer.runtime.card import limits
from mutualformer.runtime.sources.frame import DataError
from mutualformer.train import checkpoint, registry
from mutualformer.train.evaluation.session import ModuleSession
from mutualformer.train.fitting import config as plan
from mutualformer.train.fitting import curves
from mutualformer.train.fitting.batches.sod_batches import BatchSource, loader
from mutualformer.train.fitting.config import FitConfig, FitError
from mutualformer.train.fitting.interruption import LAST, Interrupted, Save
from mutualformer.train.fitting.kinds import TrainingData
from mutualformer.train.fitting.modules.pointwise import lay_out
from mutualformer.train.fitting.modules.sync_norm import synchronise
from mutualformer.train.fitting.preparation.ready import open_training_data
from mutualformer.train.fitting.preparation.start import begin_with
from mutualformer.train.fitting.schedule import Schedule
from mutualformer.train.fitting.task import TrainingTask
from mutualformer.train.tasks import TASKS, load

log = logging.getLogger("mutualformer")


class _Progress(TQDMProgressBar):
    """Lightning's bar on standard error: standard output is for the result."""

    def init_train_tqdm(self) -> Any:
        return Tqdm(
            desc=self.train_description,
            disable=self.is_disabled,
            dynamic_ncols=True,
            file=sys.stderr,
            bar_format=self.BAR_FORMAT,
        )


def fit(config: FitConfig, watchers: Sequence[Callback] = ()) -> Path:
    """Train and return the path of ``model.safetensors``; its card is beside it, logs and checkpoints below ``out``.

    ``watchers``: callbacks that look on and change nothing.

    The same seed, recipe and number of processes give the same weights on a CPU, also after ``resume``, unless the
    recipe's time budget cut the run short. Raises FitError, DataError, PretrainedUnavailable, and Interrupted after
    Ctrl-C or SIGTERM, when the state has been saved.
    """
    world, rank, local = (
        int(os.environ.get(name, default))  # set by torchrun
        # One process without torchrun is a world of one.
        for name, default in (("WORLD_SIZE", "1"), ("RANK", "0"), ("LOCAL_WORLD_SIZE", "1"))
    )
    folder = config.out / "checkpoints"
    # Everything that can refuse the run comes before the first batch is made.
    start = _begin(config, folder, rank)
    # Frames do not depend on it: each is a function of (seed, step, slot), whichever process makes it.
    lightning.seed_everything(config.seed, verbose=False)
    began = time.time()
    # Built once without weights, to learn the input size that the data must have.
    spec = registry.spec_of(registry.build(config.model, **{**config.overrides, "pretrained": False}))
    data = open_training_data(config, spec, rank)
    seconds = {"data": round(time.time() - began, 1)}
    model = _build(config, data.source, world)
    if rank == 0:
        _refuse_full_disk(config, model)
    schedule = Schedule(config.recipe, spec.input_size[0], start=start)
    # Data may bring a task of its own, for instance one with a teacher.
    task = (data.task or load(TASKS[spec.task].training))(model, config.recipe, schedule)
    save = Save(folder, config.save_every)
    callbacks: list[Callback] = [save, _Progress(refresh_rate=10), *watchers]
    callbacks += [curves.Curves(config.out)] if rank == 0 else []
    callbacks += [data.validation] if data.validation is not None else []
    trainer = _trainer(config, world, local, callbacks)
    began = time.time()
    if start >= config.recipe.steps:  # killed between the last step and the model: Lightning would train on
        task.restore(_state(folder / LAST))
    else:
        # The loader begins at step ``start``, so a resumed run sees the frames that it would have seen.
        batches = loader(data.source, schedule, config.recipe.batch, start, rank, world, config.workers)
        _train(trainer, task, batches, str(folder / LAST) if config.resume else None, save)
    if rank:
        return config.out / "model.safetensors"
    steps = max(trainer.global_step, start)
    seconds["training"] = round(time.time() - began, 1)
    done = {
        "steps_done": steps,
        "cut_by_clock": steps < config.recipe.steps,
        "precision": config.precision,
        "processes": world,
        "seconds": seconds,
        "resumed_at_step": start,
        **{key: getattr(config, key) for key in ("init", "local_norms") if getattr(config, key)},
    }
    return _finish(config, task.averaged().cpu(), data, {**dataclasses.asdict(config.recipe), **done})


def _begin(config: FitConfig, folder: Path, rank: int) -> int:
    """Check the configuration against the kept plan, or write the plan; returns the step to start from."""
    folder.mkdir(parents=True, exist_ok=True)
    # Checkpoints are written beside their place and renamed; a kill in between leaves such a file.
    for stale in folder.glob(".*.part"):
        stale.unlink(missing_ok=True)
    last, step = folder / LAST, 0
    if config.resume:
        if not last.is_file():
            raise FitError(f"{last}: nothing to resume from; run without --resume to start anew")
        # Another batch size or recipe would give other frames and another schedule for the same step number.
        changed = plan.difference(config.out, config)
        if changed:
            raise FitError(f"{config.out}: the run to resume was begun with {changed}; resume it as it was begun")
        step = int(_state(last)["global_step"])
    if rank == 0:
        plan.keep(config.out, config)
    return step


def _state(path: Path) -> dict[str, Any]:
    """A Lightning checkpoint; nothing in it is ever unpickled as code."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and tensor errors of a dozen classes
        raise FitError(f"{path}: cannot be read ({type(error).__name__}); remove it and start anew") from error
    return state


def _build(config: FitConfig, source: BatchSource, world: int) -> nn.Module:
    overrides = dict(config.overrides)
    classes = getattr(source, "num_classes", None)
    if classes is not None:
        # The classifier of a ReID model has one output for each identity of the training set.
        overrides.setdefault("num_classes", classes)
    if config.init:
        overrides["pretrained"] = False  # its weights are replaced anyhow
    # Initial weights come from this seed alone, whatever data preparation drew from the global generator.
    torch.manual_seed(config.seed)
    model = registry.build(config.model, **overrides).train()
    if config.init:
        begin_with(model, config.init)
    model = lay_out(model)
    # Batch norms over all processes make the result independent of their number; with --local-norms each process has
    # its own, which is faster on CPUs.
    return synchronise(model) if world > 1 and not config.local_norms else model


def _refuse_full_disk(config: FitConfig, model: nn.Module) -> None:
    """Raise FitError where the disk has no room for what a run writes; hours later it would end the run.

    Weights, the best weights, and the optimiser's state twice while it is replaced: ten times the weights at most.
    """
    needed = 10 * sum(value.numel() * value.element_size() for value in model.state_dict().values()) + (16 << 20)
    free = shutil.disk_usage(config.out).free
    if free < needed:
        raise FitError(
            f"{config.out}: the disk has {free / 1e6:.0f} MB free, this run may write {needed / 1e6:.0f} MB; make room "
            "or choose another place"
        )


def _trainer(config: FitConfig, world: int, local: int, callbacks: list[Callback]) -> lightning.Trainer:
    for name in ("lightning.pytorch", "lightning.fabric"):  # tips, advertisements, which hardware is absent
        logging.getLogger(name).setLevel(logging.WARNING)
    return lightning.Trainer(
        max_steps=config.recipe.steps,
        # Frames are drawn without end, so there are no epochs; the recipe counts steps.
        max_epochs=-1,
        accelerator="auto" if torch.cuda.is_available() else "cpu",
        devices=local,
        num_nodes=world // local,
        # Frozen parameters have no gradients before they thaw, and a class token leaves some without use.
        strategy="auto" if world == 1 else "ddp_find_unused_parameters_true",
        precision=config.precision,  # type: ignore[arg-type]
        gradient_clip_val=config.recipe.clip or None,
        callbacks=callbacks,
        logger=TensorBoardLogger(str(config.out), name="logs", version=""),
        log_every_n_steps=10,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _train(trainer: lightning.Trainer, task: TrainingTask, batches: Any, resume_from: str | None, save: Save) -> None:
    """Lightning's loop with its warnings off. Raises Interrupted, and a worker's DataError as one sentence."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            trainer.fit(task, batches, ckpt_path=resume_from, weights_only=True)
    except DataError as error:  # PyTorch puts a worker's whole traceback into the message
        last = str(error).strip().splitlines()[-1]
        raise DataError(last.partition("DataError: ")[2] or last) from None
    finally:
        save.restore_handlers()
    if save.signum:
        raise Interrupted(save.signum, trainer.global_step, save.folder / LAST)


def _finish(config: FitConfig, model: nn.Module, data: TrainingData, recipe: dict[str, Any]) -> Path:
    """Score the trained model and write it with its card; returns its path. ``recipe``: as the card shows it."""
    # Validation while training, where there was one, concludes first: it may put its best weights into the model.
    metrics = data.validation.conclude(model, data.facts) if data.validation is not None else {}
    curves.draw(config.out)
    spec = registry.spec_of(model)
    task = TASKS[spec.task]
    samples, title = data.held_out, f"{len(data.held_out or ())} frames held out of {config.data}"
    if config.validate:
        samples, title = task.open(config.validate, spec.input_size, True, "test"), config.validate
    if samples is not None:
        metrics |= {"data": title, **load(task.score)(ModuleSession(model), samples, title)}
    # Parents are models whose weights or answers went into this one; the card names their data and terms too.
    roles = {**({"fine-tuned from": config.init} if config.init else {}), **data.parents}
    card = {
        "data": data.facts,
        "recipe": recipe,
        "prints": data.prints,
        "parents": [one for role, name in roles.items() for one in checkpoint.parent(zoo.weights(name), name, role)],
        "limits": limits(spec.task, config.data),
        "metrics": metrics,
    }
    path = _save(config.out / "model.safetensors", model, card)
    checkpoint.write_markdown(path)
    return path


def _save(path: Path, model: nn.Module, card: dict[str, Any]) -> Path:
    """Write the trained model; where ``path`` cannot take it, write it to the temporary folder and report that."""
    try:
        return checkpoint.save(path, model, card)
    except (OSError, safetensors.SafetensorError) as error:
        elsewhere = Path(tempfile.mkdtemp(prefix="mutualformer-model-")) / path.name
        log.error("%s cannot be written (%s): the model goes to %s", path, error, elsewhere)
        return checkpoint.save(elsewhere, model, card)
