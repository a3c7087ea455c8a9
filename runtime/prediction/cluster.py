"""The same album spread over the machines of a Ray cluster by Ray Data; without an address, over this one.

Each task is one shard of the journal. A worker opens the models once, on one thread, does its shard's frames as a
local run does, and writes files and journal itself into OUT, which all machines must see under the same path. So the
files are those of a run without Ray, bit for bit; a run cut short goes on where it stopped; and nothing is computed
twice, whichever way the earlier run was made.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import mutualformer
from mutualformer.errors import Error
from mutualformer.plugins.files import scratch
from mutualformer.runtime import zoo
from mutualformer.runtime.environment import variables
from mutualformer.runtime.prediction.journal import Journal, digest, shards
from mutualformer.runtime.prediction.run import Report, Summary, finish, given_names
from mutualformer.runtime.prediction.work import Model, Plan, process
from mutualformer.runtime.sources.inputs import Album

LOCAL = "local"


class ClusterError(Error, RuntimeError):
    """Ray is missing or its cluster cannot be reached: one sentence."""


class ShardWorker:
    """One worker process: models opened once, one shard a call. ``models``: (label, file) each."""

    def __init__(
        self, album: Album, plan: Plan, journal: Journal, models: Sequence[tuple[str, str]], device: str
    ) -> None:
        import cv2

        cv2.setNumThreads(1)
        self.album, self.plan, self.journal = album, plan, journal
        self.names = given_names(album)
        self.models = [Model(label, zoo.load(Path(file), device, threads=1)) for label, file in models]

    def __call__(self, task: dict[str, Any]) -> dict[str, Any]:
        """The frames of one shard that are not done: {"shard": number} → counts and reasons, in plain types."""
        number = int(task["shard"])
        part = shards(len(self.album))[number]
        stamps = {index: digest(self.album.stamp(index)) for index in part}
        finished = self.journal.done(number, stamps, self.plan)
        # A lost worker of this run may have done some of them: those count as done now.
        ours = [line for line in finished.values() if line.get("run") == self.journal.run]
        outcomes = [[line["error"], line["has_depth"]] for line in ours]
        for index in part:
            if index in finished:
                continue
            batch = [(index, self.names[index], partial(self.album.read, index))]
            (outcome,) = process(batch, self.models, self.plan)
            self.journal.add(number, self.names[index], outcome, stamps[index])
            outcomes.append([outcome.error, outcome.has_depth])
        return {"shard": number, "kept": len(finished) - len(ours), "outcomes": outcomes}


def predict_album(
    album: Album, plan: Plan, journal: Journal, models: Sequence[tuple[str, Path]], *, address: str, device: str
) -> Summary:
    """What :func:`mutualformer.runtime.prediction.run.predict_album` does, by ``address``'s workers ("local": here).

    Raises ClusterError, and OSError where OUT cannot be written.
    """
    journal.begin(True, given_names(album))
    report, kept = Report(len(album)), 0
    # Absolute: workers have working folders of their own.
    plan, journal = replace(plan, out=plan.out.absolute()), journal.absolute()
    files = [(label, str(path.absolute())) for label, path in models]
    try:
        for result in _results(album, plan, journal, files, address, device):
            kept += int(result["kept"])
            report.skip(int(result["kept"]))
            for error, has_depth in result["outcomes"]:
                report.add(str(error), bool(has_depth))
    finally:
        report.close()
    report.summary.kept = kept
    return finish(report.summary, journal, plan, len(album))


def _results(
    album: Album, plan: Plan, journal: Journal, models: Sequence[tuple[str, str]], address: str, device: str
) -> Iterator[dict[str, Any]]:
    """One dict a shard, as they are finished."""
    with _connected(address):
        import ray
        import ray.data

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.verbose_progress = False
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.ERROR)
        count = len(shards(len(album)))
        workers = max(1, min(count, int(ray.cluster_resources().get("CPU", 1))))
        tasks = ray.data.from_items([{"shard": number} for number in range(count)], override_num_blocks=count)
        results = tasks.map(
            ShardWorker,
            fn_constructor_kwargs={
                "album": album,
                "plan": plan,
                "journal": journal,
                "models": list(models),
                "device": device,
            },
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers),
            num_cpus=1,
        )
        try:
            yield from results.iter_rows()
        except ray.exceptions.RayError as error:
            raise ClusterError(f"a worker failed: {_cause(error)}") from error


@contextlib.contextmanager
def _connected(address: str) -> Iterator[None]:
    """A cluster while the block runs: the one this process is connected to, that at ``address``, or one of our own."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Checkout or installed: workers import the package that this process uses, where they see the same files.
    root = str(Path(mutualformer.__file__).resolve().parents[1])
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    workers = {"PYTHONPATH": paths, "OMP_WAIT_POLICY": "PASSIVE"}
    with contextlib.ExitStack() as stack:
        options: dict[str, Any] = {"address": address}
        if address == LOCAL:
            options = stack.enter_context(_own_cluster(workers))
        import ray

        if not ray.is_initialized():
            try:
                ray.init(**options, runtime_env={"env_vars": workers}, log_to_driver=False, logging_level=logging.ERROR)
            except Exception as error:  # Ray raises its own, grpc's and the system's families
                first = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
                raise ClusterError(f"Ray at {address!r} cannot be reached or started: {first}") from error
            stack.callback(ray.shutdown)
        yield


@contextlib.contextmanager
def _own_cluster(workers: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Options for a cluster that only this process may use, and that leaves nothing behind.

    It listens on 127.0.0.1 and asks for a token made for this run. Ray's head process asks addresses of cloud
    providers who they are, with its usage statistics switched off too, unless its home folder holds a description of
    the cluster: so it gets a home of its own, which also takes its session's files. Workers keep the user's.
    """
    with scratch() as home:
        (home / "ray_bootstrap_config.yaml").touch()
        own = {"HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        # Where clusters are enabled, Ray replaces 127.0.0.1 by an address that is seen from outside.
        own["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        workers["HOME"] = str(Path.home())
        with variables(own):
            yield {"_node_ip_address": "127.0.0.1", "_temp_dir": str(home), "include_dashboard": False}


def _cause(error: BaseException) -> str:
    """The last line of what a worker raised, which is the exception itself."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:400]
