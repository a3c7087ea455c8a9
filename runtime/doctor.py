"""Verb ``doctor``: what works on this machine, and for each line that does not, what mends it here.

Exit code 0 where a model file can be run (ONNX Runtime and OpenCV are there); what is only missing is optional.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file: the repository root stands in for this folder on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import mutualformer
from mutualformer.plugins import library
from mutualformer.runtime import flavor, zoo
from mutualformer.runtime.commandline.running import run_verb
from mutualformer.runtime.session.gpu import compute_capabilities
from mutualformer.runtime.sources import udev
from mutualformer.runtime.untrusted.printable import printable

CHECKOUT = Path(mutualformer.__file__).resolve().parents[1]
NVIDIA = "0x10de"
PCI = Path("/sys/bus/pci/devices")


@dataclass(frozen=True)
class Diagnosis:
    """``state``: ok, missing, or broken (there, but of no use). ``repair``: what mends it here; empty where it is ok.

    Where nothing can mend it on this machine, ``repair`` says so and what to use instead. ``needed``: without it no
    model file runs at all, which is what the exit code tells.
    """

    what: str
    state: str
    detail: str
    repair: str = ""
    needed: bool = False


def install(extra: str) -> str:
    """The command that adds an extra to this installation: a checkout's or a wheel's."""
    if (CHECKOUT / "pyproject.toml").is_file():
        return f"{sys.executable} -m pip install -c constraints.txt -e '.[{extra}]'   (in {CHECKOUT})"
    return f"{sys.executable} -m pip install 'mutualformer[{extra}]'"


def _package(module: str, distribution: str, extra: str = "", why: str = "") -> Diagnosis:
    what = f"{distribution}{f' ({why})' if why else ''}"
    if importlib.util.find_spec(module) is None:
        repair = install(extra) if extra else f"{sys.executable} -m pip install {distribution}"
        return Diagnosis(what, "missing" if extra else "broken", "not installed", repair, needed=not extra)
    try:
        return Diagnosis(what, "ok", importlib.metadata.version(distribution))
    except importlib.metadata.PackageNotFoundError:
        return Diagnosis(what, "ok", "installed, version unknown")


def python() -> Diagnosis:
    """The interpreter."""
    return Diagnosis("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def program() -> Diagnosis:
    """This program, and whether it runs from a checkout."""
    where = f"checkout {CHECKOUT}" if (CHECKOUT / "pyproject.toml").is_file() else str(CHECKOUT)
    return Diagnosis("mutualformer", "ok", f"{mutualformer.__version__}, {where}")


def models() -> Diagnosis:
    """The shipped models: there, and unchanged."""
    try:
        entries = zoo.shelf()
        for entry in entries:
            zoo.resolve(entry.name)
    except zoo.ModelNameError as error:
        repair = f"{sys.executable} -m pip install --force-reinstall --no-deps mutualformer"
        if (CHECKOUT / ".git").exists():
            repair = f"git -C {CHECKOUT} checkout -- mutualformer/models"
        return Diagnosis("shipped models", "broken", str(error), repair, needed=True)
    if not entries:
        repair = "give --model FILE where a verb asks for one (`mutualformer fit`, then `mutualformer to_onnx`)"
        return Diagnosis("shipped models", "missing", "this installation ships none", repair)
    return Diagnosis("shipped models", "ok", ", ".join(entry.name for entry in entries))


def gpu() -> Diagnosis:
    """An NVIDIA GPU with its driver."""
    capabilities = compute_capabilities()
    if capabilities:
        return Diagnosis("gpu", "ok", f"compute capability {', '.join(capabilities)}")
    if any(_vendor(device) == NVIDIA for device in sorted(PCI.glob("*"))):
        repair = "sudo apt-get install nvidia-driver   (or your distribution's package), then restart"
        return Diagnosis("gpu", "missing", "an NVIDIA card is there, but its driver does not answer", repair)
    return Diagnosis(
        "gpu",
        "missing",
        "no NVIDIA GPU: engines can be built with TensorRT-RTX, but not run",
        "nothing to mend here: use ONNX files on the CPU, run engines on a machine with a GPU",
    )


def _vendor(device: Path) -> str:
    try:
        return (device / "vendor").read_text().strip()
    except OSError:
        return ""


def driver_calls() -> Diagnosis:
    """What an engine's session calls the CUDA driver through; of no use without a GPU."""
    for module, distribution in (("cuda.bindings", "cuda-bindings"), ("pycuda", "pycuda")):
        try:
            present = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:
            present = False
        if present:
            return _package(module, distribution)
    if not compute_capabilities():
        return Diagnosis(
            "cuda-bindings", "missing", "not installed", "not needed here: there is no GPU to run engines on"
        )
    return Diagnosis("cuda-bindings", "missing", "not installed", f"{sys.executable} -m pip install cuda-bindings")


def plugin() -> Diagnosis:
    """The CDA plugin, which only TensorRT needs."""
    try:
        path = library.find()
        library.check(path)
    except library.PluginError as error:
        if not flavor.installed():
            return Diagnosis(
                "plugin", "missing", "not built", f"not needed without TensorRT; with it: {install('rtx')}"
            )
        repair = (
            "make plugin" if (CHECKOUT / "Makefile").is_file() else f"{sys.executable} -m mutualformer.plugins.build"
        )
        return Diagnosis("plugin", "missing" if path is None else "broken", str(error), repair)
    return Diagnosis("plugin", "ok", str(path))


def tensorrt() -> Diagnosis:
    """Either flavour."""
    present = flavor.installed()
    if not present:
        jetson = Path("/etc/nv_tegra_release").is_file()
        repair = "sudo apt-get install python3-libnvinfer   (JetPack's own)" if jetson else install("rtx")
        return Diagnosis("tensorrt", "missing", "neither flavour installed", repair)
    versions = []
    for name in present:
        try:
            versions.append(f"{name} {flavor.import_flavor(name).__version__}")
        except flavor.FlavorError as error:
            repair = f"{sys.executable} -m pip install --force-reinstall '{flavor.EXTRAS[name]}'"
            return Diagnosis("tensorrt", "broken", str(error), repair)
    return Diagnosis("tensorrt", "ok", ", ".join(versions))


def cameras() -> Diagnosis:
    """Plugged-in depth cameras that this user may not open."""
    locked = udev.locked()
    if locked:
        repair = f"mutualformer doctor --udev | sudo tee {udev.RULES_FILE}, then plug the camera in again"
        return Diagnosis("usb cameras", "broken", f"this user may not open {', '.join(locked)}", repair)
    return Diagnosis("usb cameras", "ok", "none that this user may not open")


def webcams() -> Diagnosis:
    """Webcams that this user may not open."""
    devices = sorted(Path("/dev").glob("video*"))
    closed = [device.name for device in devices if not os.access(device, os.R_OK | os.W_OK)]
    if closed:
        repair = "sudo usermod -aG video $USER, then log in again"
        return Diagnosis("webcams", "broken", f"this user may not open {', '.join(closed)}", repair)
    return Diagnosis("webcams", "ok", ", ".join(device.name for device in devices) or "none plugged in")


def samples() -> Diagnosis:
    """The real RGB-D pair of the tests and the demo."""
    folder = os.environ.get("MUTUALFORMER_SAMPLES", "")
    if folder and (Path(folder) / "motorcycle" / "rgb.png").is_file():
        return Diagnosis("real sample", "ok", folder)
    if importlib.util.find_spec("skimage") is not None:
        return Diagnosis("real sample", "ok", "scikit-image fetches it when it is asked for")
    return Diagnosis(
        "real sample",
        "missing",
        "MUTUALFORMER_SAMPLES names no folder with motorcycle/rgb.png",
        f"{sys.executable} -m pip install scikit-image pooch   (fetches it), or export MUTUALFORMER_SAMPLES=FOLDER",
    )


CHECKS: tuple[Callable[[], Diagnosis], ...] = (
    program,
    python,
    lambda: _package("onnxruntime", "onnxruntime"),
    lambda: _package("cv2", "opencv-python-headless"),
    lambda: _package("onnx", "onnx"),
    models,
    lambda: _package("torch", "torch", "train", "to train and export"),
    lambda: _package("onnxscript", "onnxscript", "export", "to export checkpoints"),
    lambda: _package("triton", "triton", "plugin", "to build the plugin"),
    tensorrt,
    plugin,
    gpu,
    driver_calls,
    lambda: _package("ray", "ray", "ray", "predict --ray"),
    lambda: _package("pyrealsense2", "pyrealsense2", "realsense", "RealSense cameras"),
    lambda: _package("depthai", "depthai", "oak", "OAK cameras"),
    lambda: _package("pyorbbecsdk", "pyorbbecsdk2", "orbbec", "Orbbec cameras"),
    cameras,
    webcams,
    samples,
)


def examine() -> list[Diagnosis]:
    """All findings, each check on its own: one that fails says so and stops none of the others."""
    findings = []
    for check in CHECKS:
        try:
            findings.append(check())
        except Exception as error:  # the doctor must survive any patient
            name = getattr(check, "__name__", "check")
            detail = f"{type(error).__name__}: {error}"
            findings.append(Diagnosis(name, "broken", detail, "report this with `mutualformer doctor --json`"))
    return findings


def parser() -> argparse.ArgumentParser:
    """The command line of this verb."""
    parser = argparse.ArgumentParser(prog="mutualformer doctor", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="for bug reports")
    parser.add_argument("--udev", action="store_true", help="print the udev rules for USB depth cameras, then exit")
    return parser


def command(args: argparse.Namespace) -> int:
    """Print the findings."""
    if args.udev:
        print(udev.rules(), end="")
        return 0
    findings = examine()
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        marks = {"ok": "✓", "missing": "–", "broken": "✗"}
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            print(f"{marks[finding.state]} {finding.what:<{width}}  {printable(finding.detail)}")
            if finding.repair:
                print(f"  {'':<{width}}  → {printable(finding.repair)}")
    return 1 if any(finding.state == "broken" and finding.needed for finding in findings) else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``mutualformer doctor``."""
    return run_verb(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
