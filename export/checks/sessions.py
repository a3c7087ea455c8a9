"""Sessions of one engine, opened and closed again and again: CUDA context as before, answers, nothing left allocated.

python -m mutualformer.export.checks.sessions ENGINE [--opens N]

What a session allocates is counted call by call. The device's free memory is only written down: on a Jetson it is the
whole system's, on a desktop everybody's.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from mutualformer.export.checks.rig.outcome import CheckFailed
from mutualformer.runtime.preprocess import InputError
from mutualformer.runtime.session.base import Session
from mutualformer.runtime.session.cuda import Driver, open_driver
from mutualformer.runtime.session.tensorrt import EngineSession

_PAIRS = {
    "allocate": "free",
    "allocate_host": "free_host",
    "create_stream": "destroy_stream",
    "capture": "destroy_graph",
}


class Ledger:
    """Counts what a driver hands out and takes back. ``alive``: what of each kind was not given back."""

    def __init__(self, driver: Driver) -> None:
        self.alive: Counter[str] = Counter()
        for make, drop in _PAIRS.items():
            setattr(driver, make, self._counting(getattr(driver, make), make, 1))
            setattr(driver, drop, self._counting(getattr(driver, drop), make, -1))

    def _counting(self, call: Callable[..., Any], kind: str, change: int) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            result = call(*arguments)
            self.alive[kind] += change
            return result

        return counted

    def left(self) -> dict[str, int]:
        """Kind → how many were not given back; empty where all were."""
        return {kind: count for kind, count in self.alive.items() if count}


def current_context(driver: Driver) -> int:
    """The CUDA context that is current on this thread, 0 for none."""
    return int(driver.call("cuCtxGetCurrent"))


def _unchanged(driver: Driver, before: int, what: str) -> None:
    after = current_context(driver)
    if after != before:
        raise CheckFailed(f"{what} changed this thread's CUDA context from {before:#x} to {after:#x}")


def _inputs(session: Session, batch: int, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    arrays = {spec.name: random.random((batch, *spec.shape[1:])) for spec in session.contract.inputs}
    return {
        spec.name: (arrays[spec.name] * (255 if spec.dtype == "uint8" else 4)).astype(spec.dtype)
        for spec in session.contract.inputs
    }


def one(open_session: Callable[[], EngineSession], driver: Driver, ledger: Ledger, seed: int) -> None:
    """Open, right and wrong calls, close. Raises CheckFailed."""
    before = current_context(driver)
    session = open_session()
    _unchanged(driver, before, "opening a session")
    low, _, high = session.card.profile
    first: dict[int, Any] = {}
    for batch in (low, low, low, high, low):  # the third call replays a CUDA graph, another batch drops it
        answer = next(iter(session.run(**_inputs(session, batch, seed)).values()))
        if not np.array_equal(first.setdefault(batch, answer), answer):
            raise CheckFailed(f"the session's answers to the same batch of {batch} differ")
    try:
        session.run(**_inputs(session, high + 1, seed))
    except InputError:
        pass
    else:
        raise CheckFailed("a batch outside of the profile was accepted")
    _unchanged(driver, before, "running a session")
    session.close()
    _unchanged(driver, before, "closing a session")
    del session
    gc.collect()
    if left := ledger.left():
        raise CheckFailed(f"after close these were not given back: {left}")


def rounds(open_session: Callable[[], EngineSession], driver: Driver, opens: int) -> str:
    """``opens`` sessions, one after the other, in a thread without a CUDA context. Raises CheckFailed."""
    ledger = Ledger(driver)
    with ThreadPoolExecutor(1) as thread:
        for seed in range(opens):
            thread.submit(one, open_session, driver, ledger, seed).result()
    return f"{opens} sessions opened, run and closed: context as before, nothing left"


def main() -> int:
    """Print the sentence and numbers as JSON; exit code 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="python -m mutualformer.export.checks.sessions")
    parser.add_argument("engine", type=Path)
    parser.add_argument("--opens", type=int, default=5)
    args = parser.parse_args()
    driver = open_driver()
    try:
        sentence = rounds(lambda: EngineSession.open(args.engine), driver, args.opens)
    except (CheckFailed, RuntimeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps({"sentence": sentence, "opens": args.opens, "driver": driver.package}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
