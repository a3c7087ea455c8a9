"""What can be known about the Jetson without one: Python 3.10 syntax, aarch64 wheels, a cross-compiled plugin."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mutualformer.export.device.plugin import cubins, plugin_sources
from mutualformer.export.device.sbom import packages
from mutualformer.export.device.scripts import resource
from mutualformer.export.device.wheel import ROOT
from mutualformer.export.engine.targets import TARGETS
from tests.export.pythons import clean_environment, header_folders, index_reachable, python310

STAGES = ("plugins", "runtime", "train", "export")  # a device gets the whole wheel
PYTHON_FILES = [str(path.relative_to(ROOT)) for stage in STAGES for path in sorted((ROOT / stage).rglob("*.py"))]
HEAVY = ("torch", "torchvision", "timm", "lightning", "triton", "onnx_graphsurgeon", "onnxscript", "matplotlib")


def test_grammar_is_that_of_python_310() -> None:
    for name in PYTHON_FILES:
        ast.parse((ROOT / name).read_text(encoding="utf-8"), name, feature_version=(3, 10))


def test_ruff_accepts_it_for_python_310(tmp_path: Path) -> None:
    pytest.importorskip("ruff", reason="ruff is not installed")
    command = [sys.executable, "-m", "ruff", "check", "--quiet", "--target-version", "py310"]
    subprocess.run([*command, *PYTHON_FILES], cwd=ROOT, check=True)
    newer = tmp_path / "newer.py"  # so that an accepting ruff means something
    newer.write_text("try:\n    print()\nexcept* ValueError:\n    print()\n")
    assert subprocess.run([*command, str(newer)], cwd=tmp_path, capture_output=True).returncode == 1


def test_python_310_compiles_it() -> None:
    python = python310()
    if python is None:
        pytest.skip("no Python 3.10 interpreter: neither python3.10 on PATH nor ~/.pyenv/versions/3.10*/bin")
    program = "import sys; [compile(open(name, encoding='utf-8').read(), name, 'exec') for name in sys.argv[1:]]"
    subprocess.run([python, "-c", program, *PYTHON_FILES], cwd=ROOT, env=clean_environment(), check=True)


@pytest.mark.parametrize("module", ["export.to_trt", "export.parity", "runtime.stream", "runtime.session"])
def test_what_a_device_runs_needs_nothing_heavy(module: str) -> None:
    """Imported where importing PyTorch, Triton and the like fails, as it does on a device."""
    program = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
import mutualformer.{module}
assert not [name for name in {HEAVY!r} if name in sys.modules]
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _resolve(folder: Path, glibc: int, requirements: list[str], *options: str) -> dict[str, str]:
    """Package → wheel that pip would install for cp310 on aarch64 with that glibc 2.x; nothing is installed."""
    if not index_reachable():
        pytest.skip("the package index is not reachable")
    # pip evaluates markers for its own Python: a 3.10 one also resolves what only 3.10 needs.
    report = folder / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed"]
    command += ["--disable-pip-version-check", "--report", str(report), "--target", str(folder / "never")]
    for minor in range(17, glibc + 1):
        command += ["--platform", f"manylinux_2_{minor}_aarch64"]
    command += ["--platform", "manylinux2014_aarch64", "--python-version", "3.10", "--only-binary=:all:"]
    done = subprocess.run([*command, *options, *requirements], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-1500:]
    assert not (folder / "never").exists()
    actual = json.loads(report.read_text())["install"]
    return {row["metadata"]["name"].lower(): row["download_info"]["url"].rsplit("/", 1)[1] for row in actual}


def _pinned(name: str) -> list[str]:
    return [f"{package}=={version}" for package, version in packages(resource("requirements", name).decode())]


@pytest.mark.full  # asks the package index
def test_every_pinned_package_has_a_wheel_for_jetpack_6(tmp_path: Path) -> None:
    """The list for Python 3.10 is complete, without anything heavy, and all of it wheels for glibc 2.35."""
    wheels = _resolve(tmp_path, 35, _pinned("py310.txt"), "--no-deps")
    assert {"numpy", "onnxruntime", "onnx", "opencv-python-headless", "aiohttp", "mcap", "cuda-bindings"} <= set(wheels)
    assert "pyrealsense2" in wheels
    assert not set(wheels) & set(HEAVY)
    for name, wheel in wheels.items():
        assert wheel.endswith(".whl"), name
        assert "aarch64" in wheel or wheel.endswith("-none-any.whl"), wheel


@pytest.mark.full  # asks the package index
def test_tensorrt_rtx_has_wheels_for_aarch64(tmp_path: Path) -> None:
    """Its two real packages; the third, tensorrt-rtx-cu13, is a source package that only names them."""
    names = [name for name in _pinned("rtx.txt") if not name.startswith("tensorrt-rtx-cu13==")]
    wheels = _resolve(tmp_path, 35, names, "--no-deps")  # glibc 2.35: Ubuntu 22.04, which JetPack 6 is
    assert len(wheels) == 2
    assert all("aarch64" in wheel for wheel in wheels.values())


@pytest.mark.full  # the pack for aarch64, tests/export/checks, compiles the same sources
@pytest.mark.parametrize(("target", "arch"), [("orin-nano", 87), ("thor", 110)])
def test_plugin_cross_compiles_for_aarch64(tmp_path: Path, target: str, arch: int) -> None:
    pytest.importorskip("triton", reason="Triton is not installed: no kernels can be compiled")
    compiler, readelf = shutil.which("aarch64-linux-gnu-g++"), shutil.which("aarch64-linux-gnu-readelf")
    if compiler is None or readelf is None:
        pytest.skip("no cross compiler: apt-get install g++-aarch64-linux-gnu")
    headers = header_folders()
    for path, data in {**plugin_sources(), **cubins(TARGETS[target])}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    cmake = shutil.which("cmake", path=str(Path(sys.executable).parent)) or shutil.which("cmake") or "cmake"
    configure = [cmake, "-S", "source", "-B", "build", "-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64"]
    configure += [f"-DCMAKE_{language}_COMPILER={compiler}" for language in ("CXX", "ASM")]
    configure += [f"-D{key}={value}" for key, value in headers.items()]
    configure += [
        f"-DMUTUALFORMER_GENERATED={tmp_path / 'source' / 'generated'}",
        f"-DPython_EXECUTABLE={sys.executable}",
    ]
    for command in (configure, [cmake, "--build", "build", "--target", "plugin_record"]):
        environment = {**clean_environment(), "PYTHONPATH": str(ROOT)}  # on a device: the wheel
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
    built = tmp_path / "build" / "libmutualformer_plugin.so"

    def read(option: str) -> str:
        return subprocess.run([readelf, option, "-W", str(built)], capture_output=True, text=True, check=True).stdout

    assert re.search(r"Machine:\s+AArch64", read("-h"))
    needed = set(re.findall(r"NEEDED.*\[(.*?)\]", read("-d")))
    assert needed <= {"libstdc++.so.6", "libm.so.6", "libgcc_s.so.1", "libc.so.6", "ld-linux-aarch64.so.1"}
    symbols = [line.split() for line in read("--dyn-syms").splitlines() if re.match(r"\s+\d+:", line)]
    exported = {row[7] for row in symbols if len(row) > 7 and row[4] == "GLOBAL" and row[6] != "UND"}
    assert {"getCreators", "setLoggerFinder", "mutualformer_plugin_info", "mutualformer_last_error"} <= exported
    undefined = {row[7] for row in symbols if len(row) > 7 and row[6] == "UND"}
    assert not [name for name in undefined if re.match(r"cu[A-Z]|cuda|.*nvinfer", name)]
    blob = (tmp_path / "source" / "generated" / "cubins.bin").read_bytes()
    assert blob in built.read_bytes()
    record = json.loads(built.with_name(built.name + ".json").read_text())
    assert record["architectures"] == [arch]
