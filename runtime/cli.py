"""The ``mutualformer`` command: one table of verbs, each imported only when it is called."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib
import logging
import os
import platform
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mutualformer
from mutualformer.runtime.files import reason
from mutualformer.runtime.live import signals
from mutualformer.runtime.untrusted.printable import printable


@dataclass(frozen=True)
class Verb:
    """``module`` has ``parser()``, ``command(args)`` and ``main(argv)``; ``about``: what it does, in a few words."""

    module: str
    about: str


GROUPS: dict[str, dict[str, Verb]] = {
    "use a model": {
        "predict": Verb("mutualformer.runtime.predict", "pictures in; masks, cut-outs, distances out"),
        "stream": Verb("mutualformer.runtime.stream", "live camera in, saliency out, on a page and to disk"),
        "models": Verb("mutualformer.train.catalogue.models", "shipped and registered models, sizes, scores"),
        "evaluate": Verb("mutualformer.train.evaluate", "task metrics of any model on any data"),
    },
    "make one": {
        "data": Verb("mutualformer.train.datasets", "check a data set, list the standard ones"),
        "recipes": Verb("mutualformer.train.recipes", "how fit trains: the recipes, or one as a file to change"),
        "fit": Verb("mutualformer.train.fit", "train a model, or fine-tune one"),
        "ablation": Verb("mutualformer.train.ablation", "every fusion over the same seeds, one table"),
        "to_onnx": Verb("mutualformer.export.to_onnx", "checkpoint → ONNX"),
        "to_trt": Verb("mutualformer.export.to_trt", "checkpoint or ONNX → TensorRT engine with the CDA plugin"),
        "parity": Verb("mutualformer.export.parity", "prove that two models give the same answers"),
        "bundle": Verb("mutualformer.export.bundle", "pack everything a device or an inference server needs"),
        "acceptance": Verb("mutualformer.export.acceptance", "does the plugin work on this GPU: PASS, FAIL or SKIP"),
        "demo": Verb("mutualformer.export.demo", "the whole path: train, export, compile, run, compare"),
    },
    "look around": {
        "bench": Verb("mutualformer.runtime.bench", "measure: cda, model, stream, kernels"),
        "doctor": Verb("mutualformer.runtime.doctor", "what works here, and how to repair what does not"),
        "completion": Verb("mutualformer.runtime.commandline.completion", "tab completion for bash, zsh or tcsh"),
    },
}
VERBS: dict[str, Verb] = {name: verb for group in GROUPS.values() for name, verb in group.items()}

# What our code raises on bad input: one sentence, no traceback. MemoryError: a picture or model too large for here.
USER_ERRORS = (ValueError, RuntimeError, OSError, MemoryError)

# Import name → pip extra, for packages that the base installation does without.
EXTRAS = {
    **dict.fromkeys(("torch", "torchvision", "timm", "lightning", "safetensors", "tensorboard", "matplotlib"), "train"),
    **dict.fromkeys(("onnxscript", "onnx_graphsurgeon"), "export"),
    **dict.fromkeys(("triton", "kernel_lens"), "plugin"),
    "tensorrt_rtx": "rtx",
    "tensorrt": "tensorrt",
    "pycuda": "pycuda",
    "cuda": "cuda",
    "tritonclient": "serving",
    "cyclonedx": "export",
    "ray": "ray",
    "huggingface_hub": "hub",
    "shtab": "completion",
    "rerun": "rerun",
    "imagehash": "train",
    "tomli": "train",
    "OpenEXR": "exr",
    "foxglove": "foxglove",
    "pyrealsense2": "realsense",
    "depthai": "oak",
    "pyorbbecsdk": "orbbec",
}


class _Lines(logging.Formatter):
    """Log lines as sentences; control characters in strangers' names are made visible."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(printable(line) for line in super().format(record).split("\n"))


class _Stderr(logging.StreamHandler):  # type: ignore[type-arg]  # Python 3.10 has no StreamHandler[…]
    """Writes to whatever standard error is at that moment: programs and tests replace it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(_Lines("%(message)s"))

    @property
    def stream(self) -> Any:
        return sys.stderr

    @stream.setter
    def stream(self, stream: Any) -> None: ...


def prepare_output() -> None:
    """Log lines to stderr; a terminal that cannot show a letter shows its code instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    root = logging.getLogger()
    # By name: run as a file, this module is there twice.
    if not any(type(handler).__name__ == _Stderr.__name__ for handler in root.handlers):
        root.addHandler(_Stderr())
        root.setLevel(logging.WARNING)
    logging.getLogger("mutualformer").setLevel(logging.INFO)  # ours; other libraries stay at warnings


def run_verb(
    parser: argparse.ArgumentParser,
    command: Callable[[argparse.Namespace], int],
    argv: Sequence[str] | None = None,
) -> int:
    """Parse, run, and turn an error into one line and exit code 1. MUTUALFORMER_DEBUG=1 shows the traceback."""
    prepare_output()
    args = parser.parse_args(argv)
    signals.watch()
    try:
        if signals.received:
            return signals.stopped()
        code = command(args)
        sys.stdout.flush()  # what cannot be written is our failure, not the interpreter's at its end
        return 128 + signals.received.pop() if signals.received and code == 128 + signal.SIGINT else code
    except KeyboardInterrupt:
        return signals.stopped()
    except BrokenPipeError:
        return _unread()
    except Exception as error:
        if os.environ.get("MUTUALFORMER_DEBUG"):
            raise
        return signals.stopped() if signals.received else _failed(parser.prog, error)


def _failed(program: str, error: Exception) -> int:
    """Say what went wrong on one line; returns the exit code."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        print(f"{program}: error: {missing(error.name)}", file=sys.stderr)
        return 1
    fault = " (this is a fault of the program: please report it with what MUTUALFORMER_DEBUG=1 adds)"
    print(
        f"{program}: error: {one_line(error)}{'' if isinstance(error, USER_ERRORS) else fault}",
        file=sys.stderr,
    )
    return 1


def _unread() -> int:
    """The reader went away (``| head``): nobody is left to be told. The exit code is as the shell counts a SIGPIPE."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141


def _answer(text: str) -> int:
    """Print what was asked for; returns the exit code."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        return _unread()
    except OSError as error:
        print(f"mutualformer: error: {one_line(error)}", file=sys.stderr)
        return 1
    return 0


def one_line(error: BaseException) -> str:
    """An error's message on one line; the class name where a foreign error has none of ours in it."""
    if isinstance(error, OSError) and error.errno and error.filename is not None:
        return printable(f"{os.fsdecode(error.filename)}: {reason(error)}")
    if isinstance(error, OSError) and error.errno and error.args[1:2] == (error.strerror,):
        return printable(reason(error))
    text = printable(" ".join(str(error).split())) or type(error).__name__
    ours = type(error).__module__.split(".")[0] == "mutualformer"
    return text if ours or isinstance(error, OSError) else f"{type(error).__name__}: {text}"[:600]


def missing(module: str) -> str:
    """``Python package 'torch' is missing; pip install 'mutualformer[train]'``."""
    extra = EXTRAS.get(module.split(".")[0])
    cure = f"pip install 'mutualformer[{extra}]'" if extra else f"pip install {module.split('.')[0]}"
    return f"Python package {module!r} is missing; {cure}"


def usage() -> str:
    """All verbs, by what one wants to do."""
    width = max(map(len, VERBS))
    lines = ["usage: mutualformer VERB …"]
    for title, verbs in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {name:<{width}}  {verb.about}" for name, verb in verbs.items())]
    return "\n".join([*lines, "", "mutualformer help VERB tells more; mutualformer --version tells which this is."])


def version() -> str:
    """``mutualformer 0.1.0 (Python 3.11.2 on Linux x86_64)``."""
    return (
        f"mutualformer {mutualformer.__version__} "
        f"(Python {platform.python_version()} on {platform.system()} {platform.machine()})"
    )


def unknown(verb: str) -> str:
    """One line about a verb that does not exist, and what was probably meant."""
    close = difflib.get_close_matches(verb.replace("-", "_"), VERBS, 1, 0.5)
    hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(VERBS)}"
    return f"mutualformer: error: unknown verb {printable(repr(verb))}; {hint}"


def run_module(name: str, prog: str, arguments: Sequence[str]) -> int:
    """``main(arguments)`` of module ``name``, imported now; a package that its import misses is one line."""
    signals.watch()
    try:
        module = importlib.import_module(name)
    except KeyboardInterrupt:
        return signals.stopped()
    except ImportError as error:
        if signals.received:
            return signals.stopped()
        if not isinstance(error, ModuleNotFoundError):
            raise
        print(f"{prog}: error: {missing(error.name or str(error))}", file=sys.stderr)
        return 1
    return int(module.main(arguments))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of the ``mutualformer`` command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    prepare_output()
    if arguments and arguments[0] in ("-V", "--version", "version"):
        return _answer(version())
    if arguments[:1] == ["help"]:
        arguments = [arguments[1], "--help"] if len(arguments) > 1 else ["--help"]
    if arguments[:1] in (["-h"], ["--help"]):
        return _answer(usage())
    if not arguments:
        print(usage(), file=sys.stderr)
        return 2
    verb, *rest = arguments
    if verb not in VERBS:
        print(unknown(verb), file=sys.stderr)
        return 2
    return run_module(VERBS[verb].module, f"mutualformer {verb}", rest)


if __name__ == "__main__":
    sys.exit(main())
