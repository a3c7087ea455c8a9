"""The ``mutualformer`` command: one table of verbs, each imported only when it is called."""

from __future__ import annotations

import contextlib
import difflib
import os
import platform
import sys
from collections.abc import Sequence

import mutualformer
from mutualformer.runtime.commandline.running import guarded, prepare_output, run_module
from mutualformer.runtime.streaming import signals
from mutualformer.runtime.untrusted.printable import printable

# The verbs by purpose: a module with ``parser()``, ``command(args)`` and ``main(argv)``, and what it does.
GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "use a model": {
        "predict": ("mutualformer.runtime.predict", "pictures in; masks, cut-outs, distances out"),
        "stream": ("mutualformer.runtime.stream", "live camera in, saliency out, on a page and to disk"),
        "gallery": ("mutualformer.runtime.gallery", "enrol things, and name what a source shows"),
        "models": ("mutualformer.train.models", "shipped and registered models, sizes, scores"),
        "evaluate": ("mutualformer.train.evaluate", "task metrics of any model on any data"),
    },
    "make one": {
        "data": ("mutualformer.train.datasets", "check a data set, list the standard ones"),
        "recipes": ("mutualformer.train.recipes", "how fit trains: the recipes, or one as a file to change"),
        "fit": ("mutualformer.train.fit", "train a model, or fine-tune one"),
        "ablation": ("mutualformer.train.ablation", "every fusion over the same seeds, one table"),
        "export": ("mutualformer.export.export", "ONNX file, TensorRT engine, bundle for a device or a server"),
        "to_onnx": ("mutualformer.export.to_onnx", "any model → ONNX, with every choice"),
        "to_trt": ("mutualformer.export.to_trt", "any model → TensorRT engine, with every choice"),
        "parity": ("mutualformer.export.parity", "prove that two models give the same answers"),
        "bundle": ("mutualformer.export.bundle", "pack everything a device or an inference server needs"),
        "acceptance": ("mutualformer.export.acceptance", "does the plugin work on this GPU: PASS, FAIL or SKIP"),
    },
    "look around": {
        "bench": ("mutualformer.runtime.bench", "measure: model, paper"),
        "doctor": ("mutualformer.runtime.doctor", "what works here, and how to repair what does not"),
    },
}
VERBS: dict[str, tuple[str, str]] = {name: verb for group in GROUPS.values() for name, verb in group.items()}
FIRST = ("predict", "stream", "models", "fit", "export", "doctor")  # the most used ones, which the short help shows


def _answer(text: str) -> int:
    """Print ``text``; returns the exit code."""

    def work() -> int:
        print(text)
        return 0

    return guarded("mutualformer", work)


def usage(every: bool = False) -> str:
    """The help: the six most used verbs, or ``every`` one, grouped by purpose."""
    groups = GROUPS if every else {"first": {name: VERBS[name] for name in FIRST}}
    width = max(len(name) for verbs in groups.values() for name in verbs)
    lines = ["usage: mutualformer VERB …"]
    for title, verbs in groups.items():
        lines += ["", *([f"{title}:"] if every else [])]
        lines += [f"  {name:<{width}}  {about}" for name, (_, about) in verbs.items()]
    if not every:
        lines += ["", f"{', '.join(name for name in VERBS if name not in FIRST)}: mutualformer help --all"]
    return "\n".join([*lines, "", "mutualformer help VERB: a verb's options; mutualformer --version: the version."])


def version() -> str:
    """``mutualformer 0.2.0 (Python 3.11.2 on Linux x86_64)``."""
    return (
        f"mutualformer {mutualformer.__version__} "
        f"(Python {platform.python_version()} on {platform.system()} {platform.machine()})"
    )


def unknown(verb: str) -> str:
    """The error for an unknown verb, with the most similar one."""
    close = difflib.get_close_matches(verb.replace("-", "_"), VERBS, 1, 0.5)
    hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(VERBS)}"
    return f"mutualformer: error: unknown verb {printable(repr(verb))}; {hint}"


def _raise_limit(arguments: Sequence[str]) -> None:
    """Apply ``--max-megapixels N`` before parsing: OpenCV and the readers read it when they are imported."""
    if "--max-megapixels" in arguments[:-1]:
        megapixels = arguments[arguments.index("--max-megapixels") + 1]
        with contextlib.suppress(ValueError):  # the parser reports the invalid value
            os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(int(float(megapixels) * 1e6))
            os.environ["MUTUALFORMER_MAX_MEGAPIXELS"] = megapixels


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of the ``mutualformer`` command; returns the exit code."""
    if argv is None:
        signals.insist()
    arguments = list(sys.argv[1:] if argv is None else argv)
    prepare_output()
    if arguments and arguments[0] in ("-V", "--version", "version"):
        return _answer(version())
    if arguments[:1] == ["help"]:
        if arguments[1:2] == ["--all"]:
            return _answer(usage(every=True))
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
    _raise_limit(rest)
    return run_module(VERBS[verb][0], f"mutualformer {verb}", rest)


if __name__ == "__main__":
    sys.exit(main())
