"""The ``mutualformer`` command: one table of verbs, each imported only when it is called."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence

VERBS = {
    "fit": ("mutualformer.train.fit", "train a model"),
    "evaluate": ("mutualformer.train.evaluate", "task metrics of a checkpoint, ONNX file or engine"),
    "data": ("mutualformer.train.datasets", "check a dataset, list the standard ones"),
    "to_onnx": ("mutualformer.export.to_onnx", "checkpoint → ONNX"),
    "to_trt": ("mutualformer.export.to_trt", "checkpoint or ONNX → TensorRT engine with the CDA plugin"),
    "parity": ("mutualformer.export.parity", "compare two model files on the same frames"),
    "bundle": ("mutualformer.export.bundle", "pack everything a device needs"),
    "demo": ("mutualformer.export.demo", "the whole path: train, export, compile, run, compare"),
    "stream": ("mutualformer.runtime.stream", "camera in, saliency out"),
    "bench": ("mutualformer.runtime.bench", "measure: cda, model, stream, kernels"),
    "doctor": ("mutualformer.runtime.doctor", "what works here, and how to repair what does not"),
}

USER_ERRORS = (ValueError, RuntimeError, OSError)  # what our code raises on bad input: one sentence, no traceback


def run_verb(
    parser: argparse.ArgumentParser,
    command: Callable[[argparse.Namespace], int],
    argv: Sequence[str] | None = None,
) -> int:
    """Parse, run, and turn an error into one line and exit code 1. MUTUALFORMER_DEBUG=1 shows the traceback."""
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("mutualformer").setLevel(logging.INFO)  # ours; other libraries stay at warnings
    try:
        return command(args)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except USER_ERRORS as error:
        if os.environ.get("MUTUALFORMER_DEBUG"):
            raise
        print(f"{parser.prog}: error: {one_line(error)}", file=sys.stderr)
        return 1


def one_line(error: BaseException) -> str:
    """An error's message on one line; the class name where a foreign error has none of ours in it."""
    text = " ".join(str(error).split()) or type(error).__name__
    ours = type(error).__module__.split(".")[0] == "mutualformer"
    return text if ours or isinstance(error, OSError) else f"{type(error).__name__}: {text}"[:600]


def usage() -> str:
    width = max(map(len, VERBS))
    rows = "\n".join(f"  {verb:<{width}}  {what}" for verb, (_, what) in VERBS.items())
    return f"usage: mutualformer VERB …\n\n{rows}\n\nmutualformer VERB --help tells more."


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    verb, *rest = arguments
    if verb not in VERBS:
        print(f"mutualformer: error: unknown verb {verb!r}\n\n{usage()}", file=sys.stderr)
        return 2
    module_name, _ = VERBS[verb]
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        extra = {"train": "train", "export": "train,export"}.get(module_name.split(".")[1], "runtime")
        print(
            f"mutualformer {verb}: error: Python package {error.name!r} is missing; "
            f"pip install 'mutualformer[{extra}]'",
            file=sys.stderr,
        )
        return 1
    return int(module.main(rest))


if __name__ == "__main__":
    sys.exit(main())
