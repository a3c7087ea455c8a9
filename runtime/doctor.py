"""Verb ``doctor``: what works on this machine, and the command that repairs what does not."""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from mutualformer.plugins import library
from mutualformer.runtime import flavor
from mutualformer.runtime.cli import run_verb
from mutualformer.runtime.gpu import compute_capabilities


@dataclass(frozen=True)
class Finding:
    """``state``: ok, missing (optional) or broken (needed). ``repair``: a command, empty where there is none."""

    what: str
    state: str
    detail: str
    repair: str = ""


def _package(module: str, distribution: str, extra: str) -> Finding:
    if importlib.util.find_spec(module) is None:
        repair = f"pip install 'mutualformer[{extra}]'" if extra else f"pip install {distribution}"
        return Finding(distribution, "missing" if extra else "broken", "not installed", repair)
    try:
        return Finding(distribution, "ok", importlib.metadata.version(distribution))
    except importlib.metadata.PackageNotFoundError:
        return Finding(distribution, "ok", "installed, version unknown")


def python() -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def gpu() -> Finding:
    capabilities = compute_capabilities()
    if capabilities:
        return Finding("gpu", "ok", f"compute capability {', '.join(capabilities)}")
    return Finding(
        "gpu",
        "missing",
        "no NVIDIA driver or GPU: ONNX files run on the CPU, engines can be built with TensorRT-RTX but not run",
    )


def plugin() -> Finding:
    try:
        path = library.find()
        library.check(path)
    except library.PluginError as error:
        return Finding("plugin", "broken", str(error), "make plugin")
    return Finding("plugin", "ok", str(path))


def tensorrt() -> Finding:
    present = flavor.installed()
    if not present:
        return Finding("tensorrt", "missing", "neither flavour installed", "pip install 'mutualformer[rtx]'")
    versions = []
    for name in present:
        try:
            versions.append(f"{name} {flavor.import_flavor(name).__version__}")
        except flavor.FlavorError as error:
            return Finding("tensorrt", "broken", str(error), f"pip install --force-reinstall '{flavor.EXTRAS[name]}'")
    return Finding("tensorrt", "ok", ", ".join(versions))


def samples() -> Finding:
    folder = os.environ.get("MUTUALFORMER_SAMPLES", "")
    if folder and (Path(folder) / "motorcycle" / "rgb.png").is_file():
        return Finding("real samples", "ok", folder)
    return Finding(
        "real samples",
        "missing",
        "MUTUALFORMER_SAMPLES names no folder with motorcycle/rgb.png",
        "export MUTUALFORMER_SAMPLES=FOLDER",
    )


CHECKS: tuple[Callable[[], Finding], ...] = (
    python,
    lambda: _package("onnxruntime", "onnxruntime", ""),
    lambda: _package("cv2", "opencv-python-headless", ""),
    lambda: _package("torch", "torch", "train"),
    lambda: _package("onnx_graphsurgeon", "onnx-graphsurgeon", "export"),
    lambda: _package("triton", "triton", "plugin"),
    tensorrt,
    plugin,
    gpu,
    lambda: _package("pycuda", "pycuda", "pycuda"),
    lambda: _package("pyrealsense2", "pyrealsense2", "realsense"),
    lambda: _package("depthai", "depthai", "oak"),
    lambda: _package("pyorbbecsdk", "pyorbbecsdk2", "orbbec"),
    samples,
)


def examine() -> list[Finding]:
    """All findings, each check on its own: one that fails says so and stops none of the others."""
    findings = []
    for check in CHECKS:
        try:
            findings.append(check())
        except Exception as error:  # the doctor must survive any patient
            findings.append(Finding(getattr(check, "__name__", "check"), "broken", f"{type(error).__name__}: {error}"))
    return findings


def command(args: argparse.Namespace) -> int:
    findings = examine()
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        marks = {"ok": "✓", "missing": "–", "broken": "✗"}
        for finding in findings:
            print(f"{marks[finding.state]} {finding.what:<24} {finding.detail}")
            if finding.repair:
                print(f"  {'':<24} → {finding.repair}")
    return 1 if any(finding.state == "broken" for finding in findings) else 0


def main(argv: Sequence[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(prog="mutualformer doctor", description=__doc__)
    arguments.add_argument("--json", action="store_true", help="for bug reports")
    return run_verb(arguments, command, argv)


if __name__ == "__main__":
    sys.exit(main())
