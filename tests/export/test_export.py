"""One verb for every format: names, folders and files in, one line out, refusals before any work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import onnx
import pytest

import mutualformer
from mutualformer.export import bundle, export
from mutualformer.export.graph import from_checkpoint
from mutualformer.export.graph.onnx_file import read_onnx
from mutualformer.runtime import zoo
from tests.conftest import ModelFiles

ROOT = Path(mutualformer.__file__).resolve().parents[1]
FRAMES = "synthetic:16?seed=3"
# What an installation with the base dependencies does not have.
EXTRAS = ("torch", "torchvision", "timm", "lightning", "safetensors", "onnxscript", "onnx_graphsurgeon", "matplotlib",
          "tritonclient", "cyclonedx")  # fmt: skip
WITHOUT = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {EXTRAS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
from mutualformer.runtime.cli import main
sys.exit(main(sys.argv[1:]))
"""


def without_extras(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command where importing PyTorch and the like fails."""
    command = [sys.executable, "-c", WITHOUT, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "file", "says"),
    [
        ([], "sod-nano.onnx", "sod-nano fp32, 4.3 MB; its answers differ from the fp16 file's by"),
        (["--half"], "sod-nano.fp16.onnx", "sod-nano fp16, 2.3 MB"),
        (["--int8", "--data", FRAMES], "sod-nano.int8.onnx", f"on 8 frames of {FRAMES}; next: mutualformer predict"),
        (["--format", "triton"], "sod-nano-triton.tar.gz", "next: tar xf sod-nano-triton.tar.gz on the server"),
    ],
)
def test_a_shipped_model_needs_no_extra(tmp_path: Path, arguments: list[str], file: str, says: str) -> None:
    run = without_extras(tmp_path, "export", "sod-nano", *arguments)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(f"{file}: ")
    assert says in run.stdout
    assert run.stdout.count("\n") == 1
    if file.endswith(".onnx"):
        model, contract = read_onnx(tmp_path / file)
        assert contract.precision == {"--half": "fp16", "--int8": "int8"}.get("".join(arguments[:1]), "fp32")
        assert contract.weights_sha256 == read_onnx(zoo.resolve("sod-nano"))[1].weights_sha256
        assert len(model.functions) == 1


@pytest.mark.slow
def test_a_bundle_of_a_shipped_model_needs_no_pytorch(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="Triton is not installed: no kernels can be compiled")
    run = without_extras(tmp_path, "export", "sod-nano", "--format", "bundle", "--device", "orin-nano")
    assert run.returncode == 0, run.stderr
    assert "fp32, fp16 for Jetson Orin Nano, sm_87 kernels" in run.stdout
    with tarfile.open(tmp_path / "sod-nano-orin-nano.tar.gz") as tar:
        names = {name.split("/", 1)[1] for name in tar.getnames()}
    assert {"models/model.fp32.onnx", "models/model.fp16.onnx", "requirements/py310.cdx.json", "build.sh"} <= names


def test_a_runs_folder_is_a_model_and_the_file_lands_in_it(
    nano: ModelFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(from_checkpoint, "to_proto", lambda *_: onnx.load(nano.onnx))  # tracing takes half a minute
    for suffix in (".safetensors", ".json"):
        shutil.copy(nano.checkpoint.with_suffix(suffix), tmp_path / f"model{suffix}")
    assert export.main([str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{tmp_path / 'model.onnx'}: sod-nano fp32")
    assert "differ from PyTorch's by" in said
    assert "on 4 random frames" in said
    assert export.main([str(tmp_path / "model.onnx"), "--half"]) == 0
    assert read_onnx(tmp_path / "model.fp16.onnx")[1].precision == "fp16"
    # Beside itself a file does not overwrite itself.
    assert export.main([str(tmp_path / "model.onnx")]) == 0
    assert (tmp_path / "model.fp32.onnx").read_bytes() == (tmp_path / "model.onnx").read_bytes()


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that nobody trained, which is enough to be refused."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from mutualformer.train import checkpoint, registry

    model = registry.build("sod-nano", input_size=[64, 96])
    return checkpoint.save(tmp_path_factory.mktemp("untrained") / "model.safetensors", model, {})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--format", "bundle"], "--device rtx20|"),
        (["--device", "thor"], "runs anywhere"),
        (["--data", FRAMES], "has no use"),
        (["--half", "--data", FRAMES], "has no use"),
        (["-o", "x.engine"], "must end in .onnx"),
        (["--int8", "--data", "nowhere"], "nowhere"),
        (["--int8", "--data", "synthetic:4"], "expected at least 16"),
    ],
)
def test_refusals_come_before_the_work(
    untrained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(from_checkpoint, "to_proto", lambda *_: pytest.fail("traced first"))
    assert export.main([str(untrained), *arguments]) == 1
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_words_of_other_tools_mean_the_same() -> None:
    for words in (["--half"], ["--fp16"], ["--precision", "fp16"]):
        assert export.parser().parse_args(["m", *words]).precision == "fp16"
        assert bundle.parser().parse_args(["m", "--triton", *words]).precision == ["fp16"]


def test_an_unknown_name_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    assert export.main(["sod-nanno"]) == 1
    assert "did you mean sod-nano?" in capsys.readouterr().err


def test_identities_of_a_graph_are_dropped_and_answers_keep_their_names() -> None:
    """What ``tidy`` does to the ends of a graph: chains of Identity before an output, and constants after one."""
    from mutualformer.export.graph.tidy import tidy

    text = """
    <ir_version: 10, opset_import: ["" : 20]>
    g (float[2] x) => (float[2] y, float[2] z) <float[2] one = {1, 1}> {
        two = Add(one, one)
        a = Mul(x, two)
        b = Identity(a)
        y = Identity(b)
        c = Identity(b)
        dead = Neg(c)
        z = Identity(x)
    }"""
    tidied = tidy(onnx.parser.parse_model(text))
    assert {(node.op_type, node.output[0]) for node in tidied.graph.node} == {("Mul", "y"), ("Identity", "z")}
    assert [tensor.name for tensor in tidied.graph.initializer] == ["two"]
