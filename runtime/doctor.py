"""``mutualformer doctor``: report what works on this machine and, for everything that does not, how to repair it here.

The exit code is 0 where a model file can run (ONNX Runtime and OpenCV are installed); everything else is optional.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import mutualformer
from mutualformer.extras import EXTRAS, install
from mutualformer.plugins import library
from mutualformer.runtime import flavor, zoo
from mutualformer.runtime.commandline.running import verb
from mutualformer.runtime.session.gpu import compute_capabilities
from mutualformer.runtime.sources import udev
from mutualformer.runtime.untrusted.printable import printable

CHECKOUT = Path(mutualformer.__file__).resolve().parents[1]
PIP = f"{sys.executable} -m pip install"
NVIDIA = "0x10de"  # PCI vendor id
PCI = Path("/sys/bus/pci/devices")


@dataclass(frozen=True)
class Diagnosis:
    """One finding. ``state``: "ok", "missing", or "broken" (present, but unusable).

    ``repair``: the command that repairs it, or what to use instead; empty where the state is ok. ``needed``: no model
    file runs without it, so that a broken one makes the exit code 1.
    """

    what: str
    state: str
    detail: str
    repair: str = ""
    needed: bool = False


def package(module: str, distribution: str, why: str = "") -> Diagnosis:
    """One Python package. A package that belongs to no extra is needed by the base installation."""
    what, extra = f"{distribution} ({why})" if why else distribution, EXTRAS.get(module)
    if importlib.util.find_spec(module) is None:
        if extra:
            return Diagnosis(what, "missing", "not installed", install(extra))
        return Diagnosis(what, "broken", "not installed", f"{PIP} {distribution}", needed=True)
    try:
        return Diagnosis(what, "ok", importlib.metadata.version(distribution))
    except importlib.metadata.PackageNotFoundError:
        return Diagnosis(what, "ok", "installed, version unknown")


def program() -> Diagnosis:
    """This program, where it runs from, and the interpreter."""
    python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    return Diagnosis("mutualformer", "ok", f"{mutualformer.__version__} in {CHECKOUT}, {python}")


def models() -> Diagnosis:
    """Whether the shipped models are present and unchanged."""
    try:
        entries = zoo.shelf()
        for entry in entries:
            zoo.resolve(entry.name)
    except zoo.ModelNameError as error:
        repair = f"{PIP} --force-reinstall --no-deps the wheel; in a checkout: git checkout -- mutualformer/models"
        return Diagnosis("shipped models", "broken", str(error), repair, needed=True)
    if not entries:
        repair = "give --model FILE where a verb asks for one (`mutualformer fit`, then `mutualformer to_onnx`)"
        return Diagnosis("shipped models", "missing", "this installation ships none", repair)
    return Diagnosis("shipped models", "ok", ", ".join(entry.name for entry in entries))


def gpu() -> Diagnosis:
    """An NVIDIA GPU with its driver."""
    if capabilities := compute_capabilities():
        return Diagnosis("gpu", "ok", f"compute capability {', '.join(capabilities)}")
    if any(vendor.read_text().strip() == NVIDIA for vendor in PCI.glob("*/vendor")):
        repair = "sudo apt-get install nvidia-driver   (or your distribution's package), then restart"
        return Diagnosis("gpu", "missing", "an NVIDIA card is present, but its driver does not answer", repair)
    detail = "no NVIDIA GPU: engines can be built with TensorRT-RTX, but not run"
    return Diagnosis("gpu", "missing", detail, "none: run ONNX files on the CPU, and engines on a machine with a GPU")


def driver_calls() -> Diagnosis:
    """The package through which an engine's session calls the CUDA driver; useless without a GPU."""
    pycuda = package("pycuda", "pycuda")
    return pycuda if pycuda.state == "ok" else package("cuda", "cuda-bindings", "to run engines on a GPU")


def plugin() -> Diagnosis:
    """The CDA plugin, which only TensorRT needs."""
    path = None
    try:
        path = library.find()
        library.check(path)
    except library.PluginError as error:
        if not flavor.installed():
            repair = f"not needed without TensorRT; to get it: {install('rtx')}"
            return Diagnosis("plugin", "missing", "not built", repair)
        repair = f"{sys.executable} -m mutualformer.plugins.build"
        return Diagnosis("plugin", "missing" if path is None else "broken", str(error), repair)
    return Diagnosis("plugin", "ok", str(path))


def tensorrt() -> Diagnosis:
    """Either flavour of TensorRT."""
    present = flavor.installed()
    if not present:
        jetson = Path("/etc/nv_tegra_release").is_file()
        repair = "sudo apt-get install python3-libnvinfer   (JetPack's own)" if jetson else install("rtx")
        return Diagnosis("tensorrt", "missing", "neither flavour installed", repair)
    try:
        versions = [f"{name} {flavor.import_flavor(name).__version__}" for name in present]
    except flavor.FlavorError as error:
        return Diagnosis("tensorrt", "broken", str(error), "install that package again (pip install --force-reinstall)")
    return Diagnosis("tensorrt", "ok", ", ".join(versions))


def cameras() -> Diagnosis:
    """USB depth cameras whose device nodes this user has no permission to open."""
    if locked := udev.locked():
        repair = f"mutualformer doctor --udev | sudo tee {udev.RULES_FILE}, then plug the camera in again"
        return Diagnosis("usb cameras", "broken", f"this user may not open {', '.join(locked)}", repair)
    return Diagnosis("usb cameras", "ok", "no permission problem found")


def webcams() -> Diagnosis:
    """Webcams, and whether this user has permission to open them."""
    devices = sorted(Path("/dev").glob("video*"))
    closed = [device.name for device in devices if not os.access(device, os.R_OK | os.W_OK)]
    if closed:
        repair = "sudo usermod -aG video $USER, then log in again"
        return Diagnosis("webcams", "broken", f"this user may not open {', '.join(closed)}", repair)
    return Diagnosis("webcams", "ok", ", ".join(device.name for device in devices) or "none plugged in")


CHECKS: tuple[Callable[[], Diagnosis], ...] = (
    program,
    partial(package, "onnxruntime", "onnxruntime"),
    partial(package, "cv2", "opencv-python-headless"),
    partial(package, "onnx", "onnx"),
    models,
    partial(package, "torch", "torch", "to train and export"),
    partial(package, "onnxscript", "onnxscript", "to export checkpoints"),
    partial(package, "triton", "triton", "to build the plugin"),
    tensorrt,
    plugin,
    gpu,
    driver_calls,
    partial(package, "ray", "ray", "predict --ray"),
    partial(package, "pyrealsense2", "pyrealsense2", "RealSense cameras"),
    partial(package, "depthai", "depthai", "OAK cameras"),
    partial(package, "pyorbbecsdk", "pyorbbecsdk2", "Orbbec cameras"),
    cameras,
    webcams,
)


def examine() -> list[Diagnosis]:
    """Run every check. A check that raises becomes a finding of its own and does not stop the others."""
    findings = []
    for check in CHECKS:
        try:
            findings.append(check())
        except Exception as error:  # the report must come out however broken the machine is
            detail, repair = f"{type(error).__name__}: {error}", "report this with `mutualformer doctor --json`"
            findings.append(Diagnosis(getattr(check, "__name__", "check"), "broken", detail, repair))
    return findings


def parser() -> argparse.ArgumentParser:
    """The command line of this verb."""
    parser = argparse.ArgumentParser(prog="mutualformer doctor", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the findings as JSON, for bug reports")
    parser.add_argument("--udev", action="store_true", help="print the udev rules for USB depth cameras, then exit")
    return parser


def command(args: argparse.Namespace) -> int:
    """Print the findings; returns the exit code."""
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


main = verb(parser, command)
