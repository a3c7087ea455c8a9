"""Everything that one call of ``mutualformer predict`` asks for, as one request and one function."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.errors import DataError, InputError
from mutualformer.runtime import zoo
from mutualformer.runtime.files import replacing, sha256
from mutualformer.runtime.images.objects import THRESHOLD
from mutualformer.runtime.prediction import output as one
from mutualformer.runtime.prediction import saving, sheet
from mutualformer.runtime.prediction.identities import predict_identities
from mutualformer.runtime.prediction.journal import Journal
from mutualformer.runtime.prediction.look import AS_IT_IS, Look
from mutualformer.runtime.prediction.result import Prediction
from mutualformer.runtime.prediction.run import Report, Summary, given_names, in_order, predict_album, predict_moments
from mutualformer.runtime.prediction.single import from_saliency
from mutualformer.runtime.prediction.work import Model, Plan
from mutualformer.runtime.preprocess import prepare
from mutualformer.runtime.session.threads import usable_threads
from mutualformer.runtime.sources.folders.file_frames import ReadOptions
from mutualformer.runtime.sources.frame import Item
from mutualformer.runtime.sources.inputs import SourceError, album, is_address, moments, stamp

GPU_BATCH = 8  # frames per call of the model where it runs on a GPU


class RequestError(InputError):
    """The parts of a request contradict each other."""


@dataclass(frozen=True)
class Request:
    """What the command line asks for. ``workers`` and ``batch``: 0 chooses by the device that the model runs on.

    ``out``: the folder; ``output``: instead of it the one file, "-" for standard output. ``what`` None: the default
    kinds, or the kind of the file's ending. ``options``: how stored depth becomes metres. ``ray``: None, "local", or a
    cluster's address. Raises RequestError.
    """

    sources: tuple[str, ...]
    out: Path | None = None
    output: str | None = None
    models: tuple[str, ...] = (zoo.DEFAULT,)
    what: tuple[str, ...] | None = None
    depth: str | None = None
    options: ReadOptions | None = None
    threshold: float = THRESHOLD
    frames: int | None = None
    gallery: Path | None = None
    device: str = "auto"
    workers: int = 0
    batch: int = 0
    resume: bool = False
    ray: str | None = None
    look: Look = AS_IT_IS

    def plan(self) -> Plan:
        """What is made of each frame. Workers of a cluster have other working folders: their OUT is absolute."""
        assert self.out is not None
        out = self.out if self.ray is None else self.out.absolute()
        return Plan(out, self.what or saving.DEFAULT, self.threshold, tuple(labels(self.models)), self.look)

    def files(self) -> list[tuple[str, Path]]:
        """(label, checked file) of each model."""
        return list(zip(labels(self.models), map(zoo.resolve, self.models), strict=True))

    def __post_init__(self) -> None:
        if (self.out is None) == (self.output is None):
            raise RequestError("say where to: -o FILE for one picture or video, or --out DIR (one of the two)")
        if not 0 <= self.threshold < 1:
            raise RequestError(f"--threshold is {self.threshold:g}, expected 0 or more and less than 1")
        for name, least in (("workers", 0), ("batch", 0), ("frames", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise RequestError(f"--{name} is {value}, expected {least} or more")
        for source in map(Path, self.sources):
            if self.output is not None and source.exists() and source.resolve() == Path(self.output).resolve():
                raise RequestError(f"-o {self.output} is SOURCE itself, which would be lost: name another file")
            if self.out is not None and source.is_dir() and source.resolve() == self.out.resolve():
                raise RequestError(
                    f"--out {self.out} is SOURCE itself: its mask/ would be read as ground truth, its pictures as "
                    "input; name another folder"
                )

    def journal(self, names: Sequence[str] = ()) -> Journal:
        """The record of finished frames. It is continued only by a request that would make the same files."""
        plan = self.plan()
        what = {
            "schema": 3,
            "models": [[label, sha256(path)] for label, path in self.files()],
            "what": list(plan.what),
            "threshold": self.threshold,
            "depth": str(self.options),
            "look": self.look.to_json(),
        }
        return Journal(plan.out, what, names)


def labels(models: Sequence[str]) -> list[str]:
    """Folder names for several models: a shipped name as it is, a file's stem; equal ones are numbered."""
    stems = [Path(model).stem if Path(model).suffix in zoo.SUFFIXES else Path(model).name for model in models]
    return [stem if stems.count(stem) == 1 else f"{stem}-{number + 1}" for number, stem in enumerate(stems)]


def predict(request: Request) -> Summary:
    """Do what ``request`` asks for. Raises InputError, DataError, ModelError, OSError."""
    workers = request.workers or usable_threads()
    with contextlib.ExitStack() as stack:
        # One thread per session where several workers run it at once; a ReID model is run by one worker.
        threads = 1 if workers > 1 else 0
        # The exit stack closes the sessions in reverse order, also where a later model cannot be loaded.
        sessions = [stack.enter_context(zoo.load(model, request.device, threads)) for model in request.models]
        models = [Model(label, session) for label, session in zip(labels(request.models), sessions, strict=True)]
        tasks = {session.contract.task for session in sessions}
        if len(tasks) > 1:
            raise RequestError(f"--model: {' and '.join(sorted(tasks))} models cannot be mixed")
        # ReID answers with tables over all frames, SOD with files for each frame: from here on they share nothing.
        if tasks == {"reid"}:
            return _identities(request, models)
        if request.gallery is not None:
            raise RequestError("--gallery needs a ReID model")
        if request.output is not None:
            return _one_file(request, request.output, models, workers)
        # On a CPU one frame a call is fastest, because the workers fill the cores. A GPU wants larger calls, within the
        # smallest profile among the models.
        cpu = all(session.device == "cpu" for session in sessions)
        batch = request.batch or (1 if cpu else min(GPU_BATCH, *(session.largest_batch for session in sessions)))
        addresses = [source for source in request.sources if is_address(source)]
        # Frames that come one after another can be neither counted nor resumed; files can.
        run = _moments if addresses else _album
        return run(request, models, workers, batch)


def _one_file(request: Request, output: str, models: Sequence[Model], workers: int) -> Summary:
    """``-o FILE``: one picture's answer, or a video's frames with boxes and distances drawn."""
    kind, suffix = one.kind_of(output, request.what, request.look)
    if len(models) != 1:
        raise RequestError(f"-o {output} is one file and there are {len(models)} models: give --out DIR")
    # One file can hold only one model's answer.
    (model,) = models

    def answer(item: Item) -> Prediction:
        saliency = model.run(prepare(model.session.contract, item.rgb, item.depth))[0]
        has_depth = bool(item.depth.any())
        return from_saliency(model.session, item, saliency, has_depth, request.threshold, raw=request.look.raw)

    if kind == "video":
        return _video(request, output, suffix, answer, workers)
    if any(map(is_address, request.sources)):
        raise RequestError(f"{request.sources[0]} comes frame after frame: -o VIDEO, or --out DIR")
    pictures = album(request.sources, request.depth, request.options)
    if len(pictures) != 1:
        raise RequestError(f"-o {output} takes one picture and there are {len(pictures)}: give --out DIR")
    item = pictures[0]
    one.deliver(saving.encoded(answer(item), kind, suffix, request.look), output)
    return Summary(1, 1, without_depth=int(not item.depth.any()), files=[Path(output)])


def _video(request: Request, output: str, suffix: str, answer: Callable[[Item], Prediction], workers: int) -> Summary:
    if len(request.sources) != 1:
        raise RequestError(f"-o {output} takes one video and there are {len(request.sources)} sources")
    (source,) = request.sources
    (address,) = _addresses(request)

    def drawn(item: Item) -> NDArray[np.uint8]:
        return answer(item).annotated()

    report, film = Report(None, reports_depth=False), None
    # The film appears under its name when it is whole; a run that breaks off leaves what was there before.
    with replacing(output) as beside:
        with contextlib.ExitStack() as stack:
            stack.callback(report.close)
            for frame in in_order(moments(address, request.frames), drawn, workers):
                if film is None:
                    shape = frame.shape[0], frame.shape[1]
                    # The size is known with the first frame only.
                    film = one.WithSound(beside, suffix, source, shape)
                    stack.callback(film.close)
                film.write(frame)
                report.add("", True)
        if film is None:
            raise SourceError(f"{source}: has no frame")
    report.summary.frames = report.summary.computed
    report.summary.files.append(Path(output))
    return report.summary


def watch(request: Request, report: Callable[[Summary], None], pause_s: float = 1.0) -> None:
    """``--watch``: predict the pictures in the folder SOURCE, and those that arrive later, until Ctrl-C.

    A file is taken once it has not changed between two looks. ``report``: called with each round's outcome.
    """
    if len(request.sources) != 1 or not Path(request.sources[0]).is_dir() or request.out is None:
        raise RequestError("--watch takes one folder as SOURCE, and --out DIR")
    before: list[str] = []
    done: list[str] = []
    while True:
        now: list[str] = []
        with contextlib.suppress(DataError):  # no picture yet
            pictures = album(request.sources, request.depth, request.options)
            now = [stamp(pictures, index) for index in range(len(pictures))]
        # A file that is still being copied changes between two looks, so nothing is read until all stand still.
        if now and now == before and now != done:
            report(predict(replace(request, resume=True)))
            done = now
        before = now
        time.sleep(pause_s)


def _identities(request: Request, models: Sequence[Model]) -> Summary:
    if len(models) > 1:
        raise RequestError("one ReID model at a time: features of different models do not compare")
    if request.ray is not None or request.depth is not None:
        raise RequestError("--ray and --depth are for SOD models")
    if request.out is None:
        raise RequestError("a ReID model writes tables: give --out DIR")
    # Crops of a person or thing are small, so 16 fit into one call where a SOD model takes one frame.
    how: dict[str, Any] = {"gallery": request.gallery, "limit": request.frames, "batch": request.batch or 16}
    return predict_identities(request.sources, models[0].session, request.out, **how)


def _addresses(request: Request) -> Sequence[str]:
    """The sources that come frame after frame, a video together with its ``--depth``."""
    if request.depth is None:
        return request.sources
    if len(request.sources) != 1:
        raise SourceError(f"--depth belongs to one SOURCE, {len(request.sources)} are given")
    # One address that holds both files, as the grammar has it, so that they are paired by time.
    return [f"video:{request.sources[0]},{request.depth}"]


def _moments(request: Request, models: Sequence[Model], workers: int, batch: int) -> Summary:
    """Videos, cameras, recordings: one after another."""
    if not all(map(is_address, request.sources)):
        raise SourceError("pictures and streams cannot be mixed: predict them one after the other")
    if request.resume or request.ray is not None:
        raise SourceError(f"{request.sources[0]}: a stream cannot be resumed or spread over machines, only files can")
    every = chain.from_iterable(moments(address, request.frames) for address in _addresses(request))
    frames = islice(every, request.frames)
    return predict_moments(frames, models, request.plan(), request.journal(), workers=workers, batch=batch)


def _album(request: Request, models: Sequence[Model], workers: int, batch: int) -> Summary:
    """Pictures in files."""
    pictures = album(request.sources, request.depth, request.options)
    # --frames of files means the first of them in natural order.
    names = given_names(pictures)[: request.frames]
    # The contact sheet has a limited number of tiles: of many frames every n-th gets one.
    plan = replace(request.plan(), every=sheet.every(len(names)))
    journal = request.journal(names)
    if request.ray is not None:
        from mutualformer.runtime.prediction import cluster

        how = {"address": request.ray, "device": request.device}
        return cluster.predict_album(pictures, plan, journal, request.files(), **how)
    return predict_album(pictures, models, plan, journal, workers=workers, batch=batch, resume=request.resume)
