"""Verb ``bundle``: everything one kind of device needs, in one archive that is the same bytes every time.

    mutualformer bundle model.onnx --target orin-nano -o bundle.tar.gz [--precision fp32 fp16 int8] [--calibration DATA]

The device needs a C++ compiler, CMake, TensorRT's headers and Python 3.10; neither Triton nor PyTorch.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import json
import os
import tempfile
from collections.abc import Sequence

from mutualformer.export.device.archive import write_archive
from mutualformer.export.device.models import models
from mutualformer.export.device.scripts import scripts
from mutualformer.export.device.wheel import ROOT, build_wheel
from mutualformer.export.engine.targets import TARGETS, Target
from mutualformer.export.errors import ExportError
from mutualformer.runtime.cli import run_verb
from mutualformer.runtime.contract import PRECISIONS
from mutualformer.runtime.files import sha256

# What CMakeLists.txt runs as modules, standard library only.
_PLUGIN_PYTHON = (
    "__init__",
    *(
        f"plugins/{n}"
        for n in (
            "__init__", "attributes", "record", "compile/__init__", "compile/architectures", "compile/embed",
            "compile/images", "kernels/__init__", "kernels/schedule", "kernels/tiles",
        )
    ),
)


def cubins(target: Target) -> dict[str, bytes]:
    """``source/generated/…``: the kernels compiled for the target's architecture, and the tables around them.

    Raises ExportError where the kernels cannot be compiled (Triton or an assembler is missing).
    """
    from mutualformer.plugins.compile import aot
    from mutualformer.plugins.compile.embed import write_generated

    arch = int(target.capability.replace(".", ""))
    try:
        compiled = aot.compile_all((arch,), aot.default_cache(), len(os.sched_getaffinity(0)))
    except (ModuleNotFoundError, RuntimeError) as error:
        raise ExportError(
            f"the kernels for {target.name} (sm_{arch}) cannot be compiled here ({error}); "
            "pip install 'mutualformer[plugin]'"
        ) from error
    with tempfile.TemporaryDirectory(prefix="mutualformer-bundle-") as folder:
        write_generated(compiled, Path(folder))
        return {f"source/generated/{path.name}": path.read_bytes() for path in Path(folder).iterdir()}


def plugin_sources(root: Path = ROOT) -> dict[str, bytes]:
    """``source/…``: what CMake needs to build the plugin from ready-made cubins. Raises ExportError without sources."""
    paths = [root / "CMakeLists.txt", root / "plugins" / "compile" / "headers.py"]
    paths += [root / "mutualformer" / f"{name}.py" for name in _PLUGIN_PYTHON]
    for pattern in ("*.cpp", "*.h", "*.S"):
        paths += (root / "plugins" / "cpp").glob(pattern)
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise ExportError(f"{root} has no {', '.join(missing)}: bundles are made in a checkout of the project")
    return {f"source/{path.relative_to(root).as_posix()}": path.read_bytes() for path in paths}


def bundle(
    onnx_file: Path, target: Target, out: Path, precisions: Sequence[str] = (), calibration: str | None = None
) -> dict[str, int]:
    """Write the archive ``out``; returns path → bytes of its members. Empty ``precisions``: all that can be made.

    Raises ExportError, DataError, ContractError; ``out`` then keeps what it held.
    """
    if not out.name.endswith(".tar.gz"):
        raise ExportError(f"{out}: the output's name must end in .tar.gz")
    contract, files = models(onnx_file, precisions, calibration)
    made = [p for p in PRECISIONS if f"models/model.{p}.onnx" in files]
    wheel, content = build_wheel()
    files |= {f"wheels/{wheel}": content, **cubins(target), **plugin_sources()}
    files |= scripts(target, contract.model, made)
    facts = {
        "target": target.name,
        "device": target.device,
        "compute_capability": target.capability,
        "flavors": target.flavors,
        "model": contract.model,
        "precisions": made,
        "onnx_sha256": sha256(onnx_file),
        "git_revision": contract.git_revision,
        "wheel": wheel,
    }
    files["bundle.json"] = (json.dumps(facts, indent=1) + "\n").encode()
    write_archive(out, f"mutualformer-{contract.model}-{target.name}", files)
    return {path: len(data) for path, data in files.items()}


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(prog="mutualformer bundle", description=__doc__.splitlines()[0])
    arguments.add_argument("source", type=Path, help="model.onnx, FP32 if several precisions are wanted")
    arguments.add_argument("--target", required=True, choices=tuple(TARGETS), help="the device")
    arguments.add_argument("-o", "--output", type=Path, required=True, help="the .tar.gz file to write")
    arguments.add_argument("--precision", nargs="+", choices=PRECISIONS, default=[], help="default: all possible")
    arguments.add_argument("--calibration", metavar="DATA", help="for int8: a folder, a recording or synthetic:N")
    return arguments


def command(args: argparse.Namespace) -> int:
    target = TARGETS[args.target]
    members = bundle(args.source, target, args.output, args.precision, args.calibration)
    made = [p for p in PRECISIONS if f"models/model.{p}.onnx" in members]
    print(
        f"{args.output}: {', '.join(made)} for {target.device}, sm_{target.capability.replace('.', '')} kernels, "
        f"{len(members)} files, {args.output.stat().st_size / 1e6:.1f} MB, sha256 {sha256(args.output)[:16]}…"
    )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_verb(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
