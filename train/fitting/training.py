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
import numpy as np
import safetensors
import torch
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn

from mutualformer.runtime.card import limits
from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.frame import DataError, Frames
from mutualformer.runtime.sources.grammar import parse
from mutualformer.train import checkpoint, registry
from mutualformer.train.data.compositing.sets import FixedFrames, PhotoRoot
from mutualformer.train.evaluation.seen import prints
from mutualformer.train.evaluation.session import ModuleSession
from mutualformer.train.fitting import config as plan
from mutualformer.train.fitting import curves
from mutualformer.train.fitting.batches.photo import PhotoBatches
from mutualformer.train.fitting.batches.sod_batches import BatchSource, loader
from mutualformer.train.fitting.config import FitConfig, FitError
from mutualformer.train.fitting.curves import Curves
from mutualformer.train.fitting.interruption import LAST, Interrupted, Save
from mutualformer.train.fitting.modules.pointwise import lay_out
from mutualformer.train.fitting.modules.sync_norm import synchronise
from mutualformer.train.fitting.preparation.ready import check_masks, file_list, readable, split_off
from mutualformer.train.fitting.preparation.start import begin_with, open_teacher, weights_file
from mutualformer.train.fitting.schedule import Schedule
from mutualformer.train.fitting.task import TrainingTask
from mutualformer.train.fitting.validation import BEST, Validation, best_so_far
from mutualformer.train.tasks import TASKS

log = logging.getLogger("mutualformer")
WATCHED, PARTS = 40, 5  # held-out frames that are validated on while it trains; at least so many times


@dataclasses.dataclass(frozen=True)
class Processes:
    """Where this process stands among those that torchrun started."""

    world: int
    rank: int
    local: int

    @classmethod
    def here(cls) -> Processes:
        """From torchrun's WORLD_SIZE, RANK and LOCAL_WORLD_SIZE; one process without them."""
        names = ("WORLD_SIZE", "1"), ("RANK", "0"), ("LOCAL_WORLD_SIZE", "1")
        return cls(*(int(os.environ.get(name, default)) for name, default in names))


@dataclasses.dataclass(frozen=True)
class Data:
    """What a run trains on and is scored on. ``sets``: frames to validate on while it trains, by name.

    ``held_out``: frames kept out of training; ``facts``, ``prints`` (of the frames trained on): for the card.
    ``choose``: the best validated weights are kept.
    """

    source: BatchSource
    facts: dict[str, Any]
    held_out: Any = None
    sets: dict[str, Frames] = dataclasses.field(default_factory=dict)
    prints: str = ""
    choose: bool = False


def open_training_data(config: FitConfig, spec: registry.ModelSpec) -> Data:
    """DATA as training batches. Raises DataError, also for frames without masks."""
    height, width = spec.input_size
    facts: dict[str, Any] = {"train": config.data, "seed": config.seed}
    if config.overrides.get("pretrained") and not config.init:
        facts["pretrained"] = "the backbones started from ImageNet weights"
    if parse(config.data).kind == "photo":
        return _photographs(config, facts)
    largest = max((stage[-1] for stage in config.recipe.stages), default=height)
    size = (largest, max(32, round(largest * width / height / 32) * 32))
    task = TASKS[spec.task]
    samples, held_out = task.open(config.data, size, True, "train"), None
    if spec.task == "sod":
        check_masks(samples, config.data)
        facts["files_sha256"] = file_list(samples)
        if config.hold_out:
            samples, held_out = split_off(samples)
            held_out = readable(held_out)
            facts["held_out"] = len(held_out)
    elif config.hold_out:
        raise FitError(f"{config.data}: identities cannot be held out; give --validate DATA or --validate none")
    facts["samples"] = len(samples)
    source = task.make_batches(samples, spec, config.recipe, config.seed)
    sets: dict[str, Frames] = {}
    if held_out is not None and Processes.here().rank == 0:
        few = [held_out[index] for index in range(min(len(held_out), WATCHED))]
        bare = [item._replace(depth=np.zeros_like(item.depth)) for item in few]
        sets = {"held_out": FixedFrames(few), "held_out_no_depth": FixedFrames(bare)}
    return Data(source, {k: v for k, v in facts.items() if v != ""}, held_out, sets, prints=prints(samples))


def _photographs(config: FitConfig, facts: dict[str, Any]) -> Data:
    address = parse(config.data)
    body, options = address.target, address.options
    unknown = sorted(set(options) - {"teacher", "rendered"})
    if unknown:
        raise DataError(
            f"data {config.data!r}: unknown option {', '.join(unknown)}, expected teacher=DIR or rendered=N"
        )
    photo = PhotoRoot(body, options.get("teacher"))
    check_masks(photo.train, config.data)
    count = opening.number(config.data, "the number of rendered scenes", options.get("rendered", "300"), 0)
    rendered = opening.frames(f"synthetic:{count}?seed=1", (320, 320), cache=True) if count else None
    facts |= {"samples": len(photo.train), "files_sha256": file_list(photo.train), "rendered_scenes": count}
    if photo.sensor is not None:
        facts |= {"sensor_frames": len(photo.sensor), "sensor_files_sha256": file_list(photo.sensor)}
    taught = photo.sensor if "teacher" in options else None
    if photo.sensor is not None and taught is None:
        log.warning(
            "%s: the sensor frames are left out: nobody knows what is salient in them; give ?teacher=MAPS", config.data
        )
    source = PhotoBatches(photo.train, taught, rendered, config.recipe, config.seed)
    first = Processes.here().rank == 0 and photo.validation is not None and config.validate_every > 0
    return Data(
        source, facts, sets=dict(photo.validation_sets()) if first else {}, choose=True, prints=prints(photo.train)
    )


def _begin(config: FitConfig, folder: Path, rank: int) -> int:
    """Check against the plan, or write it; returns the step to start from."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(".*.part"):
        stale.unlink(missing_ok=True)
    if not config.resume:
        if rank == 0:
            plan.keep(config.out, config)
        return 0
    last = folder / LAST
    if not last.is_file():
        raise FitError(f"{last}: nothing to resume from; run without --resume to start anew")
    changed = plan.difference(config.out, config)
    if changed:
        raise FitError(f"{config.out}: the run to resume was begun with {changed}; resume it as it was begun")
    if rank == 0:
        plan.keep(config.out, config)
    return int(_state(last)["global_step"])


def _state(path: Path) -> dict[str, Any]:
    """A Lightning checkpoint; nothing in it is ever unpickled as code."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and tensor errors of a dozen classes
        raise FitError(f"{path}: cannot be read ({type(error).__name__}); remove it and start anew") from error
    return state


class _Progress(TQDMProgressBar):
    """Lightning's bar on standard error: standard output is for the result."""

    def init_train_tqdm(self) -> Any:
        return Tqdm(
            desc=self.train_description,
            position=2 * self.process_position,
            disable=self.is_disabled,
            leave=True,
            dynamic_ncols=True,
            file=sys.stderr,
            smoothing=0,
            bar_format=self.BAR_FORMAT,
        )


def _build(config: FitConfig, source: BatchSource, world: int) -> nn.Module:
    overrides = dict(config.overrides)
    classes = getattr(source, "num_classes", None)
    if classes is not None:
        overrides.setdefault("num_classes", classes)
    if config.init:
        overrides["pretrained"] = False  # its weights are replaced anyhow
    torch.manual_seed(config.seed)
    model = registry.build(config.model, **overrides).train()
    if config.init:
        begin_with(model, config.init)
    model = lay_out(model)
    return synchronise(model) if world > 1 and not config.local_norms else model


def _task(config: FitConfig, model: nn.Module, schedule: Schedule) -> TrainingTask:
    if not config.teacher:
        return TASKS[model.spec.task].training_task(model, config.recipe, schedule)
    from mutualformer.train.fitting.teacher import TaughtSodTask, begin_as

    if model.spec.task != "sod":
        raise FitError(f"--teacher is for detectors, {config.model} is a {model.spec.task} model")
    teacher = open_teacher(config.teacher)
    if not config.resume and not config.init:  # --init says where to begin, the teacher then only teaches
        begin_as(model, teacher)
    return TaughtSodTask(model, config.recipe, schedule, teacher)


def _trainer(config: FitConfig, processes: Processes, task: str, callbacks: list[Callback]) -> lightning.Trainer:
    for name in ("lightning.pytorch", "lightning.fabric"):  # tips, advertisements, what hardware is not there
        logging.getLogger(name).setLevel(logging.WARNING)
    return lightning.Trainer(
        max_steps=config.recipe.steps,
        max_epochs=-1,
        accelerator="auto" if torch.cuda.is_available() else "cpu",
        devices=processes.local,
        num_nodes=processes.world // processes.local,
        strategy="auto" if processes.world == 1 else TASKS[task].strategy,
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


def fit(config: FitConfig, watchers: Sequence[Callback] = ()) -> Path:
    """Train and return the path of ``model.safetensors``; its card is beside it, logs and checkpoints below ``out``.

    ``watchers``: callbacks that look on and change nothing.

    The same seed, recipe and number of processes give the same weights on a CPU, also after ``resume``, unless the
    recipe's time budget cut the run short. Raises FitError, DataError, PretrainedUnavailable, and Interrupted after
    Ctrl-C or SIGTERM, when the state has been saved.
    """
    processes = Processes.here()
    spec = registry.spec(config.model)
    folder = config.out / "checkpoints"
    start = _begin(config, folder, processes.rank)
    lightning.seed_everything(config.seed, verbose=False)
    began = time.time()
    shape = registry.spec_of(registry.build(config.model, **{**config.overrides, "pretrained": False}))
    data = open_training_data(config, shape)
    seconds = {"data": round(time.time() - began, 1)}
    model = _build(config, data.source, processes.world)
    if processes.rank == 0:
        _refuse_full_disk(config, model)
    schedule = Schedule(config.recipe, shape.input_size[0], start=start)
    task = _task(config, model, schedule)
    save = Save(folder, config.save_every, config.accumulate)
    callbacks: list[Callback] = [save, _Progress(refresh_rate=10), *watchers]
    if processes.rank == 0:
        callbacks.append(Curves(config.out))
    if data.sets and config.validate_every:
        every = min(config.validate_every, max(config.recipe.steps // PARTS, 1))
        callbacks.append(Validation(data.sets, config.out, every, data.choose))
    trainer = _trainer(config, processes, spec.task, callbacks)
    began = time.time()
    if start >= config.recipe.steps:  # broken off between the last step and the model: Lightning would train on
        task.restore(_state(folder / LAST))
    else:
        batches = loader(
            data.source,
            schedule,
            config.recipe.batch,
            start,
            processes.rank,
            processes.world,
            config.accumulate,
            config.workers,
        )
        _train(trainer, task, batches, str(folder / LAST) if config.resume else None, save)
    steps = max(trainer.global_step, start)
    seconds["training"] = round(time.time() - began, 1)
    path = config.out / "model.safetensors"
    if processes.rank == 0:
        facts = {
            "data": data.facts,
            "recipe": {
                **dataclasses.asdict(config.recipe),
                "steps_done": steps,
                "cut_by_clock": steps < config.recipe.steps,
                "precision": config.precision,
                "processes": processes.world,
                "accumulate": config.accumulate,
                "seconds": seconds,
                "resumed_at_step": start,
                **{key: getattr(config, key) for key in ("init", "teacher", "local_norms") if getattr(config, key)},
            },
            "prints": data.prints,
            "parents": _parents(config),
            "limits": limits(spec.task, config.data),
        }
        path = _finish(config, task.finish(), data, facts)
    return path


def _parents(config: FitConfig) -> list[dict[str, Any]]:
    """The models that this one is made of, for its card: their data are its data too."""
    roles = {"fine-tuned from": config.init, "taught by": config.teacher}
    return [one for role, name in roles.items() if name for one in checkpoint.parent(weights_file(name), name, role)]


def _train(trainer: lightning.Trainer, task: TrainingTask, batches: Any, resume_from: str | None, save: Save) -> None:
    """Lightning's loop with its noise off. Raises Interrupted, and DataError of a worker as one sentence."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            trainer.fit(task, batches, ckpt_path=resume_from, weights_only=True)
    except DataError as error:  # from a worker it comes with that one's traceback as its text
        last = str(error).strip().splitlines()[-1]
        raise DataError(last.partition("DataError: ")[2] or last) from None
    finally:
        save.restore_handlers()
    if save.signum:
        raise Interrupted(save.signum, trainer.global_step, save.folder / LAST)


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


def _save(path: Path, model: nn.Module, facts: dict[str, Any]) -> Path:
    """Write the trained model; where ``path`` takes it no more, beside the system's temporary files, and say so."""
    try:
        return checkpoint.save(path, model, facts)
    except (OSError, safetensors.SafetensorError) as error:
        elsewhere = Path(tempfile.mkdtemp(prefix="mutualformer-model-")) / path.name
        log.error("%s cannot be written (%s): the model goes to %s", path, error, elsewhere)
        return checkpoint.save(elsewhere, model, facts)


def _finish(config: FitConfig, model: nn.Module, data: Data, facts: dict[str, Any]) -> Path:
    """Score the model and write it with its card; returns its path. Of a validated run the best weights are kept."""
    metrics: dict[str, Any] = _take_best(config, model, facts["data"]) if data.sets and data.choose else {}
    curves.draw(config.out)
    spec = registry.spec_of(model)
    task = TASKS[spec.task]
    session = ModuleSession(model)
    if config.validate:
        samples = task.open(config.validate, spec.input_size, True, "test")
        metrics |= {"data": config.validate, **task.score(session, samples, title=config.validate)}
    elif data.held_out is not None:
        title = f"{len(data.held_out)} frames held out of {config.data}"
        metrics = {"data": title, **task.score(session, data.held_out, title=title)}
    path = _save(config.out / "model.safetensors", model, {**facts, "metrics": metrics})
    checkpoint.write_markdown(path)
    return path


def _take_best(config: FitConfig, model: nn.Module, facts: dict[str, Any]) -> dict[str, Any]:
    """Put the best validated weights into ``model`` (those of the last step as often as not).

    Returns their metrics by set, for the card; ``facts`` gets which step they are of.
    """
    best, step = best_so_far(config.out)
    if step < 0:
        return {}
    kept = checkpoint.load(config.out / BEST)
    model.load_state_dict(kept.state_dict())
    facts["kept"] = f"the best of its validations: step {step}, mean S-measure {best:.4f}"
    card_of_best: dict[str, Any] = kept.card  # type: ignore[assignment]  # put there by checkpoint.load
    return {"sets": card_of_best["metrics"]}
