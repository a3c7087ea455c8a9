"""Everything ``mutualformer predict`` was asked for, as one request and one call."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from mutualformer.errors import InputError
from mutualformer.runtime import zoo
from mutualformer.runtime.files import sha256
from mutualformer.runtime.images.salient import THRESHOLD
from mutualformer.runtime.prediction import files, sheet
from mutualformer.runtime.prediction.identities import predict_identities
from mutualformer.runtime.prediction.journal import Journal
from mutualformer.runtime.prediction.run import Summary, predict_album, predict_moments
from mutualformer.runtime.prediction.work import Model, Plan
from mutualformer.runtime.session import Session
from mutualformer.runtime.session.threads import usable_threads
from mutualformer.runtime.sources.folders.file_frames import ReadOptions
from mutualformer.runtime.sources.inputs import Album, Moment, SourceError, album, is_address, moments

GPU_BATCH = 8


class RequestError(InputError):
    """The parts of a request do not fit together: one sentence."""


@dataclass(frozen=True)
class Request:
    """What the command line asks for. ``workers`` and ``batch`` 0: chosen by where the model runs.

    ``rule``: how stored depth becomes metres. ``ray``: None, "local", or a cluster's address.
    """

    sources: tuple[str, ...]
    out: Path
    models: tuple[str, ...] = (zoo.DEFAULT,)
    what: tuple[str, ...] = files.DEFAULT
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

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise RequestError(f"--threshold is {self.threshold:g}, expected 0 or more and less than 1")
        for name, value, least in (("workers", self.workers, 0), ("batch", self.batch, 0)):
            if value < least:
                raise RequestError(f"--{name} is {value}, expected {least} or more")
        for source in self.sources:
            if Path(source).is_dir() and Path(source).resolve() == self.out.resolve():
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
        cpu = on_cpu([model.session for model in models])
        batch = request.batch or (1 if cpu else min(GPU_BATCH, *(most_of(model.session) for model in models)))
        addresses = [source for source in request.sources if is_address(source)]
        if addresses:
            return _moments(request, addresses, models, workers, batch)
        return _album(request, models, workers, batch)


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
    plan = Plan(request.out, request.what, request.threshold)
    return predict_moments(islice(frames, request.frames), models, plan, workers=workers, batch=batch)


def fingerprint(request: Request, count: int) -> dict[str, Any]:
    """What decides the output besides the pictures themselves; a journal of another one is not gone on with."""
    names = labels(request.models)
    hashes = [sha256(zoo.resolve(model)) for model in request.models]
    return {
        "schema": 1,
        "frames": count,
        "models": [list(pair) for pair in zip(names, hashes, strict=True)],
        "what": list(request.what),
        "threshold": request.threshold,
        "depth": str(request.options),
    }


def _album(request: Request, models: Sequence[Model], workers: int, batch: int) -> Summary:
    """Pictures in files."""
    pictures = album(request.sources, request.depth, request.options)
    if request.frames is not None:
        pictures = pictures.first(request.frames)
    if not len(pictures):
        return Summary()
    plan = Plan(request.out, request.what, request.threshold, sheet.chosen(len(pictures)))
    journal = Journal(request.out, fingerprint(request, len(pictures)))
    if request.ray is not None:
        from mutualformer.runtime.prediction import cluster

        files = [
            (label, zoo.resolve(model)) for label, model in zip(labels(request.models), request.models, strict=True)
        ]
        return cluster.predict_album(pictures, plan, journal, files, address=request.ray, device=request.device)
    return predict_album(pictures, models, plan, journal, workers=workers, batch=batch, resume=request.resume)


__all__ = ["Album", "Request", "RequestError", "predict"]
