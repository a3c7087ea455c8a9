"""The bundle is made twice, unpacked, built and run in a clean environment, as a device would."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mutualformer.export import bundle
from mutualformer.export.device.archive import write_archive
from mutualformer.export.device.contents import write_bundle
from mutualformer.export.device.sbom import packages
from mutualformer.export.device.wheel import ROOT, build_wheel
from mutualformer.export.engine.targets import TARGETS
from mutualformer.runtime import session
from mutualformer.runtime.preprocess import prepare
from mutualformer.runtime.session import engine_card
from mutualformer.runtime.sources import opening
from mutualformer.train.checkpoint import read_card
from tests.conftest import ModelFiles
from tests.export.pythons import clean_environment, header_folders, index_reachable, python310
from tests.plugins import support

DATA = "synthetic:16?seed=11"
TARGET = "orin-nano"
FOLDER = f"mutualformer-sod-nano-{TARGET}"
OPTIONAL = {"pyrealsense2", "depthai", "pyorbbecsdk", "rerun", "ray", "huggingface_hub", "OpenEXR", "av"}


@pytest.fixture(scope="module")
def archive(nano: ModelFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("triton", reason="Triton is not installed: no kernels can be compiled")
    out = tmp_path_factory.mktemp("bundle") / "bundle.tar.gz"
    assert bundle.main([str(nano.onnx), "--target", TARGET, "-o", str(out), "--calibration", DATA]) == 0
    return out


@pytest.fixture(scope="module")
def unpacked(archive: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(archive.parent)
    return archive.parent / FOLDER


def _sh(folder: Path, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**clean_environment(), **variables}
    command = [f"./{script}", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500)


@pytest.fixture(scope="module")
def device(unpacked: Path) -> Path:
    """The unpacked bundle after ./build.sh, in an environment that build.sh itself made, Python 3.10 where there is
    one."""
    if not index_reachable():
        pytest.skip("the package index is not reachable: no clean environment can be made")
    cmake = shutil.which("cmake", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if cmake is None:
        pytest.skip("cmake is not installed")
    tools = unpacked.parent / "tools"  # cmake alone: nothing else of this test's environment may be on the path
    tools.mkdir()
    (tools / "cmake").symlink_to(cmake)
    variables = {**header_folders(), "PYTHON": python310() or sys.executable}
    variables["PATH"] = f"{tools}{os.pathsep}{clean_environment()['PATH']}"
    done = _sh(unpacked, "build.sh", "rtx", "fp16", "--batch", "1", "1", "2", **variables)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "will not run on it" in done.stderr  # TensorRT-RTX engines are for desktops, and the script says so
    assert "compared with nothing: there is no GPU here. It is not made current" in done.stderr
    assert not (unpacked / "engines" / "current").exists()
    return unpacked


@pytest.mark.full
def test_twice_the_same_bytes(archive: Path, nano: ModelFiles, tmp_path: Path) -> None:
    again = tmp_path / "another-name.tar.gz"
    write_bundle(nano.onnx, TARGETS[TARGET], again, (), DATA)
    assert again.read_bytes() == archive.read_bytes()


def test_archive_is_free_of_its_maker(archive: Path) -> None:
    assert archive.read_bytes()[:10] == b"\x1f\x8b\x08\x00" + b"\0" * 4 + archive.read_bytes()[8:10]  # no time, no name
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
    names = [member.name for member in members]
    assert names == sorted(names)
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}
    assert {m.name.rsplit("/", 1)[1] for m in members if m.mode == 0o755} == {"build.sh", "run.sh"}
    content = gzip.decompress(archive.read_bytes())
    assert str(ROOT).encode() not in content


def test_sums_cover_every_file(unpacked: Path, archive: Path) -> None:
    with tarfile.open(archive) as tar:
        names = {name.split("/", 1)[1] for name in tar.getnames()}
    listed = {line.split("  ", 1)[1] for line in (unpacked / "SHA256SUMS").read_text().splitlines()}
    assert listed == names - {"SHA256SUMS"}
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=unpacked, check=True)


def test_models_and_their_report(unpacked: Path, nano: ModelFiles) -> None:
    report = json.loads((unpacked / "models" / "calibration.json").read_text())["precisions"]
    reference = session.load(nano.onnx, "cpu")
    scene = opening.frames("synthetic:1?seed=5", (64, 96))[0]
    frame = prepare(reference.contract, scene[0], scene[1])
    expected = reference.run(**frame)["saliency"]
    for precision, limit in (("fp32", 1e-6), ("fp16", 0.002), ("int8", 0.02)):  # measured: 0.0002 and 0.003
        loaded = session.load(unpacked / "models" / f"model.{precision}.onnx", "cpu")
        contract = json.loads((unpacked / "models" / f"model.{precision}.contract.json").read_text())
        assert loaded.contract.to_json() == loaded.contract.from_json(contract).to_json()
        assert loaded.contract.precision == precision
        assert np.abs(loaded.run(**frame)["saliency"] - expected).mean() < limit
    assert report["int8"]["calibration"] == {"data": DATA, "method": "mse", "frames": 16}
    counts = report["int8"]["convolutions_products_and_cda"]
    assert counts["int8"] > 50
    assert counts["fp16"] == len(report["int8"]["kept_fp16"]) >= len(report["int8"]["cda"]) == 2
    assert set(report["int8"]["cda"].values()) == {"Half"}
    assert "calibration" not in report["fp16"]
    page = (unpacked / "models" / "model.md").read_text()  # the checkpoint's card, and where the INT8 scales come from
    assert "\n# sod-nano\n" in page
    assert read_card(nano.checkpoint)["weights_sha256"] in page
    assert DATA in page.split("## Calibration")[1]


def test_kernels_are_for_the_device_alone(unpacked: Path) -> None:
    images = json.loads((unpacked / "source" / "generated" / "cubins.json").read_text())
    blob = (unpacked / "source" / "generated" / "cubins.bin").read_bytes()
    assert {image["arch"] for image in images} == {87}
    for image in images:
        cubin = blob[image["offset"] : image["offset"] + image["size"]]
        assert cubin[:4] == b"\x7fELF"
        assert int.from_bytes(cubin[18:20], "little") == 190  # EM_CUDA


def test_wheel_is_reproducible_and_whole() -> None:
    name, content = build_wheel()
    assert (name, content) == build_wheel()
    with zipfile.ZipFile(io.BytesIO(content)) as wheel:
        names = wheel.namelist()
        metadata = wheel.read(next(n for n in names if n.endswith(".dist-info/METADATA"))).decode()
    needed = {"export/to_trt.py", "runtime/session/__init__.py", "runtime/preview/page/page.html", "plugins/library.py"}
    needed |= {"export/device/scripts/build.sh", "export/device/requirements/py310.txt", "train/cda.py"}
    assert {f"mutualformer/{name}" for name in needed} <= set(names)
    assert {n.split("/")[0] for n in names} == {"mutualformer", name.split("-py3")[0] + ".dist-info"}
    assert {n.rsplit("/", 1)[1] for n in names if "/licenses/" in n} == {"LICENSE", "NOTICE"}
    base = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert base
    assert not [line for line in base if "torch" in line or "triton" in line]


def test_licences_and_bill_of_materials(unpacked: Path) -> None:
    for name in ("LICENSE", "NOTICE"):
        assert (unpacked / name).read_bytes() == (ROOT / name).read_bytes()
    for lock in sorted((unpacked / "requirements").glob("*.txt")):
        pinned = packages(lock.read_text())
        assert pinned
        bill = json.loads(lock.with_suffix(".cdx.json").read_text())
        assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
        assert [(c["name"], c["version"]) for c in bill["components"]] == pinned
        assert lock.read_text().count("--hash=sha256:") >= len(pinned)


@pytest.mark.slow
def test_engine_is_built_on_the_device(device: Path) -> None:
    engine = device / "engines" / "model.fp16.engine"
    card = engine_card.read(engine)
    engine_card.verify_bytes(engine, card, engine.read_bytes())
    engine_card.verify_plugin(engine, card, device / "build" / "libmutualformer_plugin.so")
    assert (card.requested_precision, card.flavor, card.profile) == ("fp16", "rtx", (1, 1, 2))
    assert card.plugin_layers == card.cda_nodes == 2
    record = json.loads((device / "build" / "libmutualformer_plugin.so.json").read_text())
    assert record["architectures"] == [87]


@pytest.mark.slow
def test_session_runs_where_pytorch_is_not(device: Path, nano: ModelFiles, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    frame = {
        "rgb": random.integers(0, 256, (1, 64, 96, 3), np.uint8),
        "depth": random.uniform(0.5, 5, (1, 64, 96)).astype(np.float32),
    }
    np.savez(tmp_path / "frame.npz", rgb=frame["rgb"], depth=frame["depth"])
    program = f"""
import importlib.util, sys
import numpy as np
from mutualformer.plugins import library
from mutualformer.runtime import session
for name in ("torch", "torchvision", "lightning", "timm", "triton", "onnx_graphsurgeon"):
    assert importlib.util.find_spec(name) is None, name
assert library.check(library.find()).architectures == (87,)
assert ".venv" in session.__file__, session.__file__
result = session.load("models/model.fp32.onnx").run(**np.load({str(tmp_path / "frame.npz")!r}))
np.save({str(tmp_path / "result.npy")!r}, result["saliency"])
"""
    python = str(device / ".venv" / "bin" / "python")
    subprocess.run([python, "-c", program], cwd=device, env=clean_environment(), check=True, timeout=120)
    expected = session.load(nano.onnx, "cpu").run(**frame)["saliency"]
    assert np.abs(np.load(tmp_path / "result.npy") - expected).max() < 1e-5


@pytest.mark.slow
def test_every_module_of_the_runtime_imports(device: Path) -> None:
    """Of runtime all, and the verbs of export that a device has a use for."""
    names = [path.relative_to(ROOT) for path in sorted((ROOT / "runtime").rglob("*.py"))]
    modules = ["mutualformer." + ".".join(name.with_suffix("").parts).removesuffix(".__init__") for name in names]
    modules += ["mutualformer.export.to_trt", "mutualformer.export.parity"]
    program = f"""
import importlib
for name in {modules!r}:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        assert error.name.split(".")[0] in {sorted(OPTIONAL)!r}, (name, error)
"""
    python = str(device / ".venv" / "bin" / "python")
    done = subprocess.run([python, "-c", program], cwd=device, env=clean_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1500:]


@pytest.mark.slow
def test_parity_runs_on_the_device(device: Path, tmp_path: Path) -> None:
    """What build.sh does before an engine becomes current, with the two ONNX files that need no GPU."""
    files = ("models/model.fp32.onnx", "models/model.fp16.onnx")
    done = _sh(device, "run.sh", "--verb", "parity", *files, "--data", "synthetic:4?seed=3", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "parity.json").read_text())


@pytest.mark.slow
def test_acceptance_runs_on_the_device(device: Path, tmp_path: Path) -> None:
    """Without PyTorch and Triton. There is no GPU here, so its checks then run on the stand-in driver."""
    done = _sh(device, "run.sh", "--verb", "acceptance", "--out", str(tmp_path / "out"))
    assert "SKIP, no NVIDIA GPU here" in done.stdout, done.stdout + done.stderr
    for name in ("tests", "lab"):  # beside them the checkout has the package, too
        (tmp_path / name).symlink_to(ROOT / name)
    python, driver = device / ".venv" / "bin" / "python", "libtest_cuda_driver.so"
    command = [str(python), "-c", "from mutualformer.plugins import library; print(library.find().parent)"]
    found = subprocess.run(command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=True)
    (Path(found.stdout.strip()) / driver).symlink_to(support.built() / driver)
    environment = {**clean_environment(), "PYTHONPATH": str(tmp_path)}
    for name in ("machine", "cubins", "numerics", "pytorch"):
        result = tmp_path / f"{name}.json"
        command = [str(python), "-m", "tests.standins", name, "--result", str(result)]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=200)
        outcome = json.loads(result.read_text())
        assert outcome["state"] == ("SKIP" if name == "pytorch" else "PASS"), outcome


@pytest.mark.slow
def test_device_has_python_310(device: Path) -> None:
    if python310() is None:
        pytest.skip("no Python 3.10 interpreter: neither python3.10 on PATH nor ~/.pyenv/versions/3.10*/bin")
    python = str(device / ".venv" / "bin" / "python")
    version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout
    assert version.startswith("Python 3.10.")


@pytest.mark.slow
def test_run_once(device: Path) -> None:
    done = _sh(device, "run.sh", "--once", MODEL="models/model.int8.onnx")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["type"] for line in lines].count("frame") == 1
    assert lines[-1]["model"] == "sod-nano int8"


@pytest.mark.slow
def test_the_device_converts_without_pytorch_and_says_so(device: Path, tmp_path: Path) -> None:
    command = [str(device / ".venv" / "bin" / "mutualformer"), "to_trt", "models/model.fp32.onnx"]
    command += ["-o", str(tmp_path / "x.engine"), "--flavor", "rtx", "--precision", "fp16"]
    done = subprocess.run(command, cwd=device, env=clean_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "fp16, made of" in done.stderr
    assert (tmp_path / "x.engine").exists()


@pytest.mark.parametrize(
    ("script", "arguments", "says"),
    [
        ("build.sh", ["cuda"], "flavour is 'cuda', expected tensorrt or rtx"),
        ("build.sh", ["rtx", "fp8"], "precision is 'fp8', this bundle holds fp32|fp16|int8"),
        ("run.sh", ["realsense://"], "run ./build.sh first"),
    ],
)
def test_scripts_refuse_in_a_sentence(
    archive: Path, tmp_path: Path, script: str, arguments: list[str], says: str
) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path)
    done = _sh(tmp_path / FOLDER, script, *arguments)
    assert done.returncode == 1
    assert says in done.stderr
    assert not (tmp_path / FOLDER / ".venv").exists()


def test_damaged_bundle_is_not_built(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path)
    model = tmp_path / FOLDER / "models" / "model.fp16.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    done = _sh(tmp_path / FOLDER, "build.sh", "rtx", "fp16")
    assert done.returncode == 1
    assert "the bundle is corrupt" in done.stderr
    assert not (tmp_path / FOLDER / ".venv").exists()


@pytest.mark.parametrize(
    ("arguments", "name", "says"),
    [
        (["--precision", "int8"], "b.tar.gz", "int8 needs --calibration"),
        (["--precision", "fp16", "--calibration", DATA], "b.tar.gz", "has no use"),
        ([], "b.zip", "must end in .tar.gz"),
        (["--calibration", "synthetic:4"], "b.tar.gz", "at least 16"),
        (["--calibration", "nowhere"], "b.tar.gz", "nowhere"),
    ],
)
def test_bad_requests_are_one_sentence_and_leave_nothing(
    nano: ModelFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], name: str, says: str
) -> None:
    assert bundle.main([str(nano.onnx), "--target", TARGET, "-o", str(tmp_path / name), *arguments]) == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert says in message
    assert message.startswith("mutualformer bundle: error: ")
    assert not list(tmp_path.iterdir())


def test_failed_write_keeps_the_old_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "b.tar.gz"
    write_archive(out, "b", {"a": b"1"})
    before = out.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(gzip.GzipFile, "write", full)
    with pytest.raises(OSError, match="No space"):
        write_archive(out, "b", {"a": b"2"})
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["b.tar.gz"]
