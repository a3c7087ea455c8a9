"""``python -m tests.train.support.trainer '{"task": …}'``: one small training in a process, to be killed or joined.

``pause``: where to stop and wait for the kill: "step:N" after step N, "writing:N" in the middle of the N-th checkpoint,
"finishing" before the model is written.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from tests.train.support.runs import tiny


def wait_for_the_kill(marker: Path) -> None:
    marker.write_text("here")
    time.sleep(300)
    raise SystemExit("nobody killed this process")


def arrange_pause(where: str, marker: Path) -> None:
    """Make the training stop at a chosen step."""
    from mutualformer.train import checkpoint
    from mutualformer.train.fitting.task import TrainingTask

    kind, _, number = where.partition(":")
    if kind == "step":
        after = TrainingTask.on_train_batch_end

        def stepped(self: TrainingTask, outputs: Any, batch: dict[str, torch.Tensor], batch_idx: int) -> None:
            after(self, outputs, batch, batch_idx)
            if self.global_step == int(number):
                wait_for_the_kill(marker)

        TrainingTask.on_train_batch_end = stepped  # type: ignore[method-assign]
    elif kind == "writing":
        save, count = torch.save, [0]

        def cut_short(value: object, file: str | Path, *arguments: Any, **options: Any) -> None:
            count[0] += 1
            if count[0] == int(number):
                import io

                whole = io.BytesIO()
                save(value, whole, *arguments, **options)
                for folder in marker.parent.glob("checkpoints"):
                    (folder / ".last.ckpt.part").write_bytes(whole.getvalue()[: whole.tell() // 2])
                wait_for_the_kill(marker)
            save(value, file, *arguments, **options)

        torch.save = cut_short  # type: ignore[assignment]
    elif kind == "finishing":
        checkpoint.save = lambda *_: wait_for_the_kill(marker)  # type: ignore[assignment,return-value]
    else:
        raise ValueError(where)


def main() -> None:
    options = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    pause = options.pop("pause", "")
    config = tiny(options.pop("task"), Path(options.pop("out")), **options)
    if pause:
        config.out.mkdir(parents=True, exist_ok=True)
        arrange_pause(pause, config.out / "paused")
    from mutualformer.train.fitting.training import fit

    fit(config)


if __name__ == "__main__":
    main()
