"""Models by name: a checked shelf, clear sentences, and how a model gets onto it."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from lab import ship
from mutualformer.runtime import zoo
from mutualformer.runtime.files import sha256
from mutualformer.runtime.session import ModelFileError
from mutualformer.runtime.zoo import hub, index
from tests.runtime.fakes import write_model


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shelf of its own with one model called red-channel, and no other shelf."""
    folder = tmp_path / "shelf"
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    ship.ship(write_model(tmp_path / "x.onnx"), folder, tmp_path / "weights.safetensors")
    monkeypatch.setenv("MUTUALFORMER_MODELS", str(folder))
    monkeypatch.setattr(index, "own_shelf", lambda: tmp_path / "no shelf")
    return folder


def test_a_name_is_a_checked_file(shelf: Path) -> None:
    assert zoo.resolve("red-channel") == shelf / "red-channel.onnx"
    assert zoo.weights("red-channel") == shelf / "red-channel.safetensors"
    with zoo.load("red-channel") as session:
        assert session.contract.model == "red-channel"
    (entry,) = zoo.shelf()
    assert entry.bytes == (shelf / "red-channel.onnx").stat().st_size
    assert (entry.task, entry.precision, entry.input_size) == ("sod", "fp32", (64, 96))


def test_a_changed_file_is_refused_before_it_is_loaded(shelf: Path) -> None:
    path = shelf / "red-channel.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(zoo.ModelNameError, match=r"sha256 is .*, the index expects"):
        zoo.resolve("red-channel")
    with pytest.raises(ModelFileError, match=r"sha256 is .*: the file was changed"):  # of the bytes that would run
        zoo.load("red-channel")
    path.unlink()
    with pytest.raises(zoo.ModelNameError, match="missing although the index"):
        zoo.load("red-channel")
    with pytest.raises(zoo.ModelNameError, match="missing although the index"):
        zoo.resolve("red-channel")


def test_weights_that_the_wheel_leaves_out_are_found_elsewhere_or_missed_in_one_sentence(shelf: Path) -> None:
    (shelf / "red-channel.safetensors").unlink()
    with pytest.raises(zoo.ModelNameError, match="MUTUALFORMER_MODELS"):
        zoo.weights("red-channel")


def test_a_misspelt_name_is_answered_with_the_right_one(shelf: Path) -> None:
    with pytest.raises(zoo.ModelNameError, match="did you mean red-channel"):
        zoo.resolve("red-chanel")


def test_without_any_shipped_model_it_is_said_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUTUALFORMER_MODELS", raising=False)
    monkeypatch.setattr(index, "own_shelf", lambda: tmp_path)
    with pytest.raises(zoo.ModelNameError, match=r"ships none yet; give --model FILE"):
        zoo.resolve("sod-lite")


@pytest.mark.parametrize("text", ["model.onnx", "a/b.engine", "./sod-lite", "C:\\x.safetensors"])
def test_what_looks_like_a_path_stays_one(text: str) -> None:
    assert zoo.resolve(text) == Path(text)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../evil"},
        {"file": "../../etc/passwd"},
        {"sha256": "short"},
        {"input_size": [1]},
        {"surprise": 1},
        {"weights": "/etc/shadow"},
    ],
)
def test_a_damaged_index_is_one_sentence(shelf: Path, change: dict[str, object]) -> None:
    data = json.loads((shelf / "index.json").read_text())
    data["models"][0].update(change)
    (shelf / "index.json").write_text(json.dumps(data))
    with pytest.raises(zoo.ModelNameError, match="not a readable index of models"):
        zoo.shelf()


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"schema": 2, "models": []}', '{"schema": 1}', '{"schema":1,"models":[3]}']
)
def test_an_index_that_is_none_is_one_sentence(shelf: Path, text: str) -> None:
    (shelf / "index.json").write_text(text)
    with pytest.raises(zoo.ModelNameError, match=r"index\.json"):
        zoo.resolve("red-channel")


def test_shipping_again_replaces_the_entry(shelf: Path, tmp_path: Path) -> None:
    ship.ship(write_model(tmp_path / "y.onnx", (32, 32)), shelf)
    (entry,) = zoo.shelf()
    assert entry.input_size == (32, 32)
    assert entry.weights == ""


def test_the_package_s_own_shelf_is_whole() -> None:
    """Whatever is shipped has the size and the hash that the index says, and its card beside it."""
    for entry in index.read_index(index.own_shelf()):
        index.checked(entry.path, entry.sha256)
        assert entry.path.stat().st_size == entry.bytes
        assert entry.path.with_suffix(".json").is_file()
        if entry.weights:
            index.checked(entry.folder / entry.weights, entry.weights_sha256)


def test_scores_come_from_the_card() -> None:
    flat = {"metrics": {"data": "duts_te", "s_measure": 0.9, "curve": [1]}}
    assert ship.scores_of(flat) == {"duts_te": {"s_measure": 0.9}}
    sets = {"metrics": {"sets": {"a": {"mae": 0.1}, "b": {"max_f": 0.8, "note": "x"}}}}
    assert ship.scores_of(sets) == {"a": {"mae": 0.1}, "b": {"max_f": 0.8}}
    direct = {"metrics": {"photographs": {"mae": 0.1, "standard_error": {"mae": 0.01}, "images": 9}, "note": "x"}}
    assert ship.scores_of(direct) == {"photographs": {"mae": 0.1}}
    errors = {"metrics": {"data": "x", "mae": 0.1, "standard_error": {"mae": 0.01}}}
    assert ship.scores_of(errors) == {"x": {"mae": 0.1}}
    assert ship.scores_of({}) == {}


def test_the_hub_s_address_is_taken_apart() -> None:
    assert hub.split("hf://me/models") == ("me/models", None, "")
    assert hub.split("hf://me/models/sub/x.onnx") == ("me/models", None, "sub/x.onnx")
    assert hub.split("hf://me/models@v1.2/sub/x.onnx") == ("me/models", "v1.2", "sub/x.onnx")
    for wrong in ("hf://", "hf://me", "hf://me/models/../x.onnx", "hf://me//x", "hf://me/models@/x", "hf://me/@v1/x"):
        with pytest.raises(zoo.ModelNameError, match="expected hf://USER/REPO"):
            hub.split(wrong)


def fake_hub(monkeypatch: pytest.MonkeyPatch, files: list[str], path: Path) -> None:
    module: Any = types.ModuleType("huggingface_hub")
    module.list_repo_files = lambda repository, revision="main": files
    module.hf_hub_download = lambda repository, file, revision="main": str(path / (revision or "main") / file)
    module.__spec__ = types.SimpleNamespace(name="huggingface_hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)


def test_a_file_of_the_hub_is_loaded_like_any_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for revision in ("main", "v2"):
        (tmp_path / revision).mkdir()
        write_model(tmp_path / revision / "model.onnx")
    fake_hub(monkeypatch, ["README.md", "model.onnx"], tmp_path)
    with zoo.load("hf://me/models") as session:
        assert session.contract.model == "red-channel"
    with caplog.at_level("INFO", "mutualformer"):
        assert zoo.resolve("hf://me/models@v2") == tmp_path / "v2/model.onnx"
    assert sha256(tmp_path / "v2/model.onnx") in caplog.text
    fake_hub(monkeypatch, ["a.onnx", "b.onnx"], tmp_path)
    with pytest.raises(zoo.ModelNameError, match=r"holds 2 ONNX files, name one: a\.onnx, b\.onnx"):
        zoo.resolve("hf://me/models")
    fake_hub(monkeypatch, ["a.bin"], tmp_path)
    with pytest.raises(zoo.ModelNameError, match=r"holds no \.onnx file"):
        zoo.resolve("hf://me/models")
    with pytest.raises(zoo.ModelNameError, match=r"ends in '\.bin', expected \.onnx"):
        zoo.resolve("hf://me/models/a.bin")


def test_without_the_hub_s_client_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(zoo.ModelNameError, match=r"\[hub\]"):
        zoo.resolve("hf://me/models")


def test_without_a_network_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_hub(monkeypatch, [], tmp_path)

    def unreachable(repository: str, revision: str | None) -> list[str]:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(sys.modules["huggingface_hub"], "list_repo_files", unreachable)
    with pytest.raises(zoo.ModelNameError, match=r"cannot be downloaded \(ConnectionError: no route\)"):
        zoo.resolve("hf://me/models")


def test_a_runs_folder_means_its_weights_or_its_only_onnx_file(shelf: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(zoo.ModelNameError, match=r"holds no ONNX files and no model\.safetensors"):
        zoo.resolve(run)
    write_model(run / "a.onnx")
    assert zoo.resolve(str(run)) == run / "a.onnx"
    (run / "model.safetensors").write_bytes(b"weights")
    assert zoo.resolve(run) == zoo.weights(run) == run / "model.safetensors"
    with pytest.raises(zoo.ModelNameError, match="training starts from weights"):
        zoo.weights(run / "a.onnx")
    # A folder that is called like a shipped model does not hide it.
    (tmp_path / "red-channel").mkdir()
    assert zoo.resolve("red-channel") == shelf / "red-channel.onnx"
