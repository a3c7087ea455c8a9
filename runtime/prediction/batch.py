"""Everything ``mutualformer predict`` was asked for, as one request and one call."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mutualformer.errors import InputError
from mutualformer.runtime import zoo
from mutualformer.runtime.files import replacing, sha256
from mutualformer.runtime.images.objects import THRESHOLD
from mutualformer.runtime.prediction import output as one
from mutualformer.runtime.prediction import saving, sheet
from mutualformer.runtime.prediction.identities import predict_identities
from mutualformer.runtime.prediction.journal import Journal
from mutualformer.runtime.prediction.look import AS_IT_IS, Look
from mutualformer.runtime.prediction.run import Report, Summary, in_order, predict_album, predict_moments
from mutualformer.runtime.prediction.single import from_saliency
from mutualformer.runtime.prediction.work import Model, Plan
from mutualformer.runtime.preprocess import prepare
from mutualformer.runtime.session import Session
from mutualformer.runtime.session.threads import usable_threads
from mutualformer.runtime.sources.folders.file_frames import ReadOptions
from mutualformer.runtime.sources.frame import DataError
from mutualformer.runtime.sources.inputs import Album, Moment, SourceError, album, is_address, moments
from mutualformer.runtime.sources.walk import walk

GPU_BATCH = 8


class RequestError(InputError):
    """The parts of a request do not fit together: one sentence."""


@dataclass(frozen=True)
class Request:
    """What the command line asks for. ``workers`` and ``batch`` 0: chosen by where the model runs.

    ``out``: the folder; ``output``: instead of it the one file, "-" for standard output. ``what`` None: by default, or
    by the file's ending. ``rule``: how stored depth becomes metres. ``ray``: None, "local", or a cluster's address.
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
        """What is made of each frame."""
        assert self.out is not None
        return Plan(
            self.out, self.what or saving.DEFAULT, self.threshold, labels=tuple(labels(self.models)), look=self.look
        )

    def __post_init__(self) -> None:
        if (self.out is None) == (self.output is None):
            raise RequestError("say where to: -o FILE for one picture or video, or --out DIR (one of the two)")
        if not 0 <= self.threshold < 1:
            raise RequestError(f"--threshold is {self.threshold:g}, expected 0 or more and less than 1")
        for name, value, least in (("workers", self.workers, 0), ("batch", self.batch, 0)):
            if value < least:
                raise RequestError(f"--{name} is {value}, expected {least} or more")
        for source in self.sources:
            if self.out is not None and Path(source).is_dir() and Path(source).resolve() == self.out.resolve():
                raise RequestError(
                    f"--out {self.out} is SOURCE itself: its mask/ would be read as ground truth, its pictures as "
                    "input; name another folder"
                )
        if self.frames is not None and self.frames < 1:
            raise RequestError(f"--frames is {self.frames}, expected at least 1")


def labels(models: Sequence[str]) -> list[str]:
    """Folder names for several models: a shipped name as it is, a file's stem; equal ones are numbered."""
    stems = [Path(model).stem if Path(model).suffix in zoo.SUFFIXES else Path(model).name for model in models]
    return [stem if stems.count(stem) == 1 else f"{stem}-{number + 1}" for number, stem in enumerate(stems)]


def open_models(request: Request, threads: int) -> list[Model]:
    """The models of a request, all of one task. Closes what it opened where one of them fails."""
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(zoo.load(model, request.device, threads)) for model in request.models]
        tasks = {session.contract.task for session in sessions}
        if len(tasks) > 1:
            raise RequestError(f"--model: {' and '.join(sorted(tasks))} models cannot be mixed")
        stack.pop_all()
    return [Model(label, session) for label, session in zip(labels(request.models), sessions, strict=True)]


def on_cpu(sessions: Sequence[Session]) -> bool:
    """Whether all of them run on the CPU."""
    return all(session.device == "cpu" for session in sessions)


def predict(request: Request) -> Summary:
    """Do it. Raises SourceError, RequestError, DataError, ModelNameError, ModelFileError, CameraError, OSError."""
    workers = request.workers or usable_threads()
    # One thread a session where several workers run it at once; a ReID model is run by one worker.
    models = open_models(request, threads=1 if workers > 1 else 0)
    with contextlib.ExitStack() as stack:
        for model in models:
            stack.callback(model.session.close)
        if models[0].session.contract.task == "reid":
            return _identities(request, models)
        if request.gallery is not None:
            raise RequestError("--gallery needs a ReID model")
        if request.output is not None:
            return _one_file(request, request.output, models, workers)
        cpu = on_cpu([model.session for model in models])
        batch = request.batch or (1 if cpu else min(GPU_BATCH, *(most_of(model.session) for model in models)))
        addresses = [source for source in request.sources if is_address(source)]
        if addresses:
            return _moments(request, addresses, models, workers, batch)
        return _album(request, models, workers, batch)


def _one_file(request: Request, output: str, models: Sequence[Model], workers: int) -> Summary:
    """``-o FILE``: one picture's answer, or a video's frames with boxes and distances drawn."""
    kind, suffix = one.kind_of(output, request.what, request.look)
    if len(models) != 1:
        raise RequestError(f"-o {output} is one file and there are {len(models)} models: give --out DIR")
    model, raw = models[0], request.look.raw
    if kind == "video":
        return _video(request, output, suffix, model, workers)
    if any(map(is_address, request.sources)):
        raise RequestError(f"{request.sources[0]} comes frame after frame: -o VIDEO, or --out DIR")
    pictures = album(request.sources, request.depth, request.options)
    if len(pictures) != 1:
        raise RequestError(f"-o {output} takes one picture and there are {len(pictures)}: give --out DIR")
    item, has_depth = pictures.read(0)
    saliency = model.run(prepare(model.session.contract, item.rgb, item.depth))[0]
    result = from_saliency(model.session, item, saliency, has_depth, request.threshold, raw)
    one.deliver(one.encode(result, kind, suffix, request.look), output)
    return Summary(1, 1, without_depth=int(not has_depth), files=[Path(output)])


def _video(request: Request, output: str, suffix: str, model: Model, workers: int) -> Summary:
    if len(request.sources) != 1:
        raise RequestError(f"-o {output} takes one video and there are {len(request.sources)} sources")
    (source,) = request.sources
    address = source if request.depth is None else f"video:{source},{request.depth}"

    def drawn(moment: Moment) -> NDArray[np.uint8]:
        saliency = model.run(prepare(model.session.contract, moment.item.rgb, moment.item.depth))[0]
        item, look = moment.item, request.look
        return from_saliency(model.session, item, saliency, moment.has_depth, request.threshold, look.raw).annotated()

    report = Report(None, says_depth=False)
    with replacing(output) as beside:
        with contextlib.ExitStack() as stack:
            stack.callback(report.close)
            film = None
            for frame in in_order(moments(address, request.frames), drawn, workers):
                if film is None:
                    shape = frame.shape[0], frame.shape[1]
                    film = one.video(beside, suffix, one.frame_rate(source), source, shape)
                    stack.callback(film.close)
                film.write(frame)
                report.add("", True)
        if not report.summary.computed:
            raise SourceError(f"{source}: has no frame")
    report.summary.frames = report.summary.computed
    report.summary.files.append(Path(output))
    return report.summary


def watch(request: Request, report: Callable[[Summary], None], pause_s: float = 1.0) -> None:
    """``--watch``: predict what comes into the folder that is SOURCE, until Ctrl-C; what is there is done first.

    A file counts once it has not changed between two looks. ``report``: called with each round's outcome.
    """
    if len(request.sources) != 1 or not Path(request.sources[0]).is_dir() or request.out is None:
        raise RequestError("--watch takes one folder as SOURCE, and --out DIR")
    before: dict[Path, tuple[int, int]] = {}
    done = before
    while True:
        now = _stamps(Path(request.sources[0]))
        if now and now == before and now != done:
            report(predict(replace(request, resume=True)))
            done = now
        before = now
        time.sleep(pause_s)


def _stamps(root: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of last change of every picture's files; none in a folder that holds no picture yet."""
    try:
        entries = walk(root).entries
    except DataError:
        return {}
    files_of = (path for entry in entries for path in entry.files)
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in files_of}


def most_of(session: Session) -> int:
    """The largest batch a session takes: an engine was built for one, ONNX files take any."""
    card: Any = getattr(session, "card", None)
    profile = getattr(card, "profile", None)
    return int(profile[2]) if profile else GPU_BATCH


def _identities(request: Request, models: Sequence[Model]) -> Summary:
    if len(models) > 1:
        raise RequestError("one ReID model at a time: features of different models do not compare")
    if request.ray is not None or request.depth is not None:
        raise RequestError("--ray and --depth are for SOD models")
    if request.out is None:
        raise RequestError("a ReID model writes tables: give --out DIR")
    return predict_identities(
        request.sources,
        models[0].session,
        request.out,
        gallery=request.gallery,
        limit=request.frames,
        batch=request.batch or 16,
    )


def _moments(request: Request, addresses: Sequence[str], models: Sequence[Model], workers: int, batch: int) -> Summary:
    """Videos, cameras, recordings: one after another."""
    if len(addresses) != len(request.sources):
        raise SourceError("pictures and streams cannot be mixed: predict them one after the other")
    if request.resume or request.ray is not None:
        raise SourceError(f"{addresses[0]}: a stream cannot be resumed or spread over machines, only files can")
    if request.depth is not None:
        if len(addresses) != 1:
            raise SourceError(f"--depth belongs to one SOURCE, {len(addresses)} are given")
        addresses = [f"video:{addresses[0]},{request.depth}"]
    frames: Iterator[Moment] = chain.from_iterable(moments(address, request.frames) for address in addresses)
    plan = request.plan()
    return predict_moments(islice(frames, request.frames), models, plan, workers=workers, batch=batch)


def fingerprint(request: Request) -> dict[str, Any]:
    """What decides the output besides the pictures themselves; a journal of another one is not gone on with."""
    names = labels(request.models)
    hashes = [sha256(zoo.resolve(model)) for model in request.models]
    return {
        "schema": 2,
        "models": [list(pair) for pair in zip(names, hashes, strict=True)],
        "what": list(request.plan().what),
        "threshold": request.threshold,
        "depth": str(request.options),
        "look": request.look.to_json(),
    }


def _album(request: Request, models: Sequence[Model], workers: int, batch: int) -> Summary:
    """Pictures in files."""
    pictures = album(request.sources, request.depth, request.options)
    if request.frames is not None:
        pictures = pictures.first(request.frames)
    if not len(pictures):
        return Summary()
    plan = replace(request.plan(), tiles=sheet.chosen(len(pictures)))
    journal = Journal(plan.out, fingerprint(request))
    if request.ray is not None:
        from mutualformer.runtime.prediction import cluster

        files = [
            (label, zoo.resolve(model)) for label, model in zip(labels(request.models), request.models, strict=True)
        ]
        return cluster.predict_album(pictures, plan, journal, files, address=request.ray, device=request.device)
    return predict_album(pictures, models, plan, journal, workers=workers, batch=batch, resume=request.resume)


__all__ = ["Album", "Request", "RequestError", "predict"]
