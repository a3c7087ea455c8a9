"""Spread an album over the machines of a Ray cluster with Ray Data; without an address, over this one.

Each task is a shard of the frames. A worker opens the models once, with one thread, does its shard's frames as a
local run does, and writes files and journal itself into OUT, which all machines must see under the same path. So the
files equal those of a run without Ray bit for bit, and either kind of run can continue the other.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mutualformer
from mutualformer.errors import Error
from mutualformer.plugins.files import scratch
from mutualformer.runtime import zoo
from mutualformer.runtime.environment import variables
from mutualformer.runtime.prediction.journal import Journal
from mutualformer.runtime.prediction.run import Report, Summary, finish, unfinished
from mutualformer.runtime.prediction.work import Model, Plan, process
from mutualformer.runtime.sources.frame import Frames
from mutualformer.runtime.untrusted.foreign import reason

LOCAL = "local"
SHARD = 64  # frames of one task


class ClusterError(Error, RuntimeError):
    """Ray's cluster cannot be reached, or a worker failed."""


class ShardWorker:
    """One worker process: opens the models once, does one shard per call. ``models``: (label, file) each."""

    def __init__(
        self, album: Frames, plan: Plan, journal: Journal, models: Sequence[tuple[str, str]], device: str
    ) -> None:
        import cv2

        cv2.setNumThreads(1)
        self.album, self.plan, self.journal = album, plan, journal
        self.models = [Model(label, zoo.load(Path(file), device, threads=1)) for label, file in models]

    def __call__(self, task: dict[str, Any]) -> dict[str, Any]:
        """Predict the unfinished frames of one shard: {"shard": number} → counts and errors, in plain types."""
        frames = range(len(self.journal.names))[SHARD * int(task["shard"]) :][:SHARD]
        finished: list[dict[str, Any]] = []
        outcomes = []
        for one in unfinished(self.album, self.journal, frames, self.plan, finished.append):
            (outcome,) = process([one], self.models, self.plan)
            self.journal.add(outcome)
            outcomes.append([outcome.error, outcome.has_depth])
        # A lost worker of this run may have done some of them: those count as done now.
        ours = [[entry["error"], entry["has_depth"]] for entry in finished if entry.get("run") == self.journal.run]
        return {"kept": len(finished) - len(ours), "outcomes": ours + outcomes}


def predict_album(
    album: Frames, plan: Plan, journal: Journal, models: Sequence[tuple[str, Path]], *, address: str, device: str
) -> Summary:
    """Do what :func:`mutualformer.runtime.prediction.run.predict_album` does with the workers at ``address``.

    ``address``: "local" starts workers on this machine only. ``plan`` and ``journal`` need absolute paths, since
    workers have other working folders. Raises ClusterError, and OSError where OUT cannot be written.
    """
    journal.begin(True)
    report = Report(len(journal.names))
    files = [(label, str(path.absolute())) for label, path in models]
    workers = {"album": album, "plan": plan, "journal": journal, "models": files, "device": device}
    with contextlib.closing(report):
        for result in _results(workers, -(-len(journal.names) // SHARD), address):
            report.keep(int(result["kept"]))
            for error, has_depth in result["outcomes"]:
                report.add(str(error), bool(has_depth))
    return finish(report.summary, journal, plan)


def _results(workers: dict[str, Any], count: int, address: str) -> Iterator[dict[str, Any]]:
    """One dict per shard, in the order in which they are finished."""
    with _connected(address):
        import ray
        import ray.data

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.verbose_progress = False
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.ERROR)
        processes = max(1, min(count, int(ray.cluster_resources().get("CPU", 1))))
        tasks = ray.data.from_items([{"shard": number} for number in range(count)], override_num_blocks=count)
        results = tasks.map(
            ShardWorker,
            fn_constructor_kwargs=workers,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=processes),
            num_cpus=1,
        )
        try:
            yield from results.iter_rows()
        except ray.exceptions.RayError as error:
            raise ClusterError(f"a worker failed: {_cause(error)}") from error


@contextlib.contextmanager
def _connected(address: str) -> Iterator[None]:
    """Connect to a cluster: the one this process uses already, the one at ``address``, or one of our own."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Workers import the package that this process uses, whether it is a checkout or installed.
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
                raise ClusterError(f"Ray at {address!r} cannot be reached or started: {reason(error)}") from error
            stack.callback(ray.shutdown)
        yield


@contextlib.contextmanager
def _own_cluster(workers: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Options for a cluster that only this process may use and that leaves no files.

    It listens on 127.0.0.1 and requires a token made for this run. Even with usage statistics switched off, Ray's
    head process queries the metadata addresses of cloud providers, unless its home folder describes the cluster: so it
    gets a home folder of its own, which also takes its session's files. Workers keep the user's.
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
