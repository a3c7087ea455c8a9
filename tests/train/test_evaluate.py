"""One evaluation for every format: against the metrics' own libraries, across formats, and with corrupt modalities."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchmetrics.retrieval import RetrievalHitRate, RetrievalMAP
from torchmetrics.retrieval.base import RetrievalMetric

from mutualformer.runtime import zoo
from mutualformer.runtime.contract import Contract
from mutualformer.runtime.session import Session
from mutualformer.runtime.session.base import Arrays
from mutualformer.runtime.sources import opening
from mutualformer.runtime.sources.frame import DataError, Item
from mutualformer.train import evaluate
from mutualformer.train.evaluation import corrupt, scoring
from mutualformer.train.evaluation.features import reid_metrics
from mutualformer.train.evaluation.maps import predict_maps, sod_metrics, to_grey
from mutualformer.train.evaluation.tables import results_table
from mutualformer.train.tasks import TASKS
from tests.conftest import ModelFiles
from tests.pictures import read_picture
from tests.train.support.scenes import write_rgbd

DATA = "synthetic:10?seed=21"


class Stand(Session):
    """A model that answers by a function of its inputs."""

    device = "cpu"

    def __init__(self, contract: Contract, answer: Callable[..., Arrays]) -> None:
        self.contract, self.answer = contract, answer

    def _run(self, inputs: Arrays) -> Arrays:
        return self.answer(**inputs)

    def describe(self) -> dict[str, Any]:
        return {}


@pytest.mark.slow
def test_agrees_with_pysodmetrics_called_directly(
    nano: ModelFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On files of their own size, not the model's: the maps that evaluate scores, scored by PySODMetrics itself."""
    import py_sod_metrics  # with SciPy, scikit-image and scikit-learn: not for whoever only collects this file

    folder = write_rgbd(tmp_path / "set", count=6, size=(50, 70))
    out = tmp_path / "out"
    arguments = [str(nano.checkpoint), "--data", str(folder), "--out", str(out), "--json"]
    assert evaluate.main(arguments) == 0
    (actual,) = json.loads(capsys.readouterr().out)["results"].values()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metrics = [py_sod_metrics.Smeasure(), py_sod_metrics.Fmeasure(), py_sod_metrics.Emeasure()]
        metrics.append(py_sod_metrics.MAE())
    for item, saliency in predict_maps(zoo.load(nano.checkpoint), opening.frames(str(folder))):
        predicted = to_grey(saliency)
        mask = read_picture(folder / "GT" / f"{item.name}.png", cv2.IMREAD_GRAYSCALE)
        assert predicted.shape == mask.shape == (50, 70)
        for metric in metrics:
            metric.step(pred=predicted, gt=mask)
    s, f, e, mae = (metric.get_results() for metric in metrics)
    direct = {"s_measure": s["sm"], "max_f": f["fm"]["curve"].max(), "max_e": e["em"]["curve"].max(), "mae": mae["mae"]}
    for name, value in direct.items():
        assert actual[name] == pytest.approx(float(value), abs=1e-6), name
    assert actual["images"] == 6
    assert (out / "table.md").read_text().startswith("| data | images | S ↑ | max F ↑ | max E ↑ | MAE ↓ |")


def test_standard_error_is_of_the_mean_over_images() -> None:
    rng = np.random.default_rng(0)
    pairs = [(rng.random((20, 30)), np.where(rng.random((20, 30)) > 0.7, 255, 0).astype(np.uint8)) for _ in range(5)]
    each = [sod_metrics([pair]) for pair in pairs]
    together = sod_metrics(pairs)
    for name in ("s_measure", "mae"):
        values = np.array([one[name] for one in each])
        assert together[name] == pytest.approx(values.mean(), abs=1e-9)
        assert together["standard_error"][name] == pytest.approx(values.std(ddof=1) / np.sqrt(5), abs=1e-9)
    assert "standard_error" not in each[0]


@pytest.fixture(scope="module")
def onnx_precisions(nano: ModelFiles, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from mutualformer.export.graph.onnx_file import read_onnx
    from mutualformer.export.precision.convert import convert, save_checked

    files = {"fp32": nano.onnx}
    for precision in ("fp16", "int8"):
        files[precision] = tmp_path_factory.mktemp("evaluate") / f"{precision}.onnx"
        save_checked(convert(*read_onnx(nano.onnx), precision, "synthetic:16?seed=9")[0], files[precision])
    return files


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("fp16", 3e-3), ("int8", 3e-2)])
def test_formats_agree(nano: ModelFiles, onnx_precisions: dict[str, Path], precision: str, tolerance: float) -> None:
    reference = scoring.evaluate(zoo.load(nano.checkpoint), DATA)
    session = zoo.load(onnx_precisions[precision])
    assert session.contract.precision == precision
    actual = scoring.evaluate(session, DATA)
    for name in ("s_measure", "max_f", "max_e", "mae"):
        assert actual[name] == pytest.approx(reference[name], abs=tolerance), name


def test_an_engine_goes_through_the_runtime_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No GPU here: what matters is that the engine's session answers for it and nothing else differs."""
    from mutualformer.runtime import session

    contract = Contract("sod", "sod-nano", (32, 32))

    opened: list[str | Path] = []
    stand = Stand(contract, lambda rgb, depth: {"saliency": (rgb.mean(axis=3) / 255).astype(np.float32)})

    def load(path: str | Path, **_: object) -> Session:
        opened.append(path)
        return stand

    monkeypatch.setattr(session, "load", load)
    assert evaluate.main([str(tmp_path / "model.engine"), "--data", DATA, "--out", str(tmp_path)]) == 0
    assert [Path(path).name for path in opened] == ["model.engine"]
    (actual,) = json.loads((tmp_path / "metrics.json").read_text())["results"].values()
    direct = scoring.evaluate(stand, DATA)
    assert actual == direct


def reid_labels(
    rng: np.random.Generator, count: int = 60, people: int = 7, cameras: int = 3
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return rng.integers(0, people, count), rng.integers(0, cameras, count)


@pytest.mark.parametrize("seed", range(4))
def test_map_and_cmc_agree_with_torchmetrics(seed: int) -> None:
    rng = np.random.default_rng(seed)
    identities, cameras = reid_labels(rng)
    features = rng.normal(size=(60, 16)) + 1.5 * np.eye(16)[identities]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    query, gallery = np.arange(20), np.arange(20, 60)
    actual = reid_metrics(features, identities, cameras, query, gallery)

    asked, similarity, right = [], [], []
    for row in query:
        for column in gallery:
            same = identities[row] == identities[column]
            if same and cameras[row] == cameras[column]:
                continue  # the protocol: what the asking camera saw of the asked does not count
            asked.append(row)
            similarity.append(features[row] @ features[column] + 1.5)  # torchmetrics drops scores ≤ 0
            right.append(same)
    arguments = torch.tensor(similarity, dtype=torch.float64), torch.tensor(right)
    metrics: dict[str, RetrievalMetric] = {"map": RetrievalMAP(empty_target_action="skip")}
    metrics |= {f"r{k}": RetrievalHitRate(empty_target_action="skip", top_k=k) for k in (1, 5, 10)}
    for name, metric in metrics.items():
        metric.update(*arguments, indexes=torch.tensor(np.array(asked)))
        assert actual[name] == pytest.approx(float(metric.compute()), abs=1e-6), name
    answered = {row for row, answer in zip(asked, right, strict=True) if answer}
    assert actual["queries"] == len(answered)


def test_standard_error_of_reid_is_over_identities() -> None:
    rng = np.random.default_rng(1)
    identities, cameras = np.arange(60) % 7, np.arange(60) % 3
    features = rng.normal(size=(60, 4))
    rows = np.arange(60)
    actual = reid_metrics(features, identities, cameras, rows, rows)
    each = [
        reid_metrics(features, identities, cameras, np.flatnonzero(identities == one), rows)["map"]
        for one in np.unique(identities)
    ]
    assert actual["standard_error"]["map"] == pytest.approx(np.std(each, ddof=1) / np.sqrt(len(each)), abs=1e-12)


def test_reid_formats_agree(reid: ModelFiles, capsys: pytest.CaptureFixture[str]) -> None:
    actual = []
    for path in (reid.checkpoint, reid.onnx):
        assert evaluate.main([str(path), "--data", "synthetic:5?seed=2", "--json"]) == 0
        actual += json.loads(capsys.readouterr().out)["results"].values()
    for name in ("map", "r1", "r5", "r10"):
        assert actual[0][name] == pytest.approx(actual[1][name], abs=1e-6), name


def test_the_papers_row_stands_under_a_standard_set() -> None:
    ours = {"s_measure": 0.5, "max_f": 0.4, "max_e": 0.6, "mae": 0.1, "images": 500}
    text = results_table({"rgbd:/r/nju2k": ours, "rgbd:/r/sip": {**ours, "images": 900}, "/x/y": ours}, "sod")
    lines = text.splitlines()
    assert lines[2] == "| nju2k | 500 | 0.500 | 0.400 | 0.600 | 0.100 |"
    assert lines[3] == "| – the paper | 500 | 0.922 | 0.923 | 0.954 | 0.032 |"
    assert lines[6].startswith("| y | 500 |")
    assert "sip: 900 of 929 images, so the two rows do not compare" in text


@pytest.mark.slow
def test_probe_reports_what_each_modality_is_worth(
    nano: ModelFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main([str(nano.checkpoint), "--data", DATA, "--probe", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    (spoilt,) = json.loads((tmp_path / "metrics.json").read_text())["probe"].values()
    assert list(spoilt) == list(TASKS["sod"].probes)
    assert all(how in printed for how in spoilt)
    assert scoring.evaluate(zoo.load(nano.checkpoint), DATA, "depth=zero") == spoilt["depth=zero"]


def test_shuffling_gives_every_frame_another_ones_depth() -> None:
    frames = opening.frames("synthetic:7?seed=1", size=(32, 32))
    spoilt = corrupt.CorruptFrames(frames, {"depth": "shuffle"})
    plain = [frames[i].depth for i in range(7)]
    taken = [next(j for j in range(7) if np.array_equal(spoilt[i].depth, plain[j])) for i in range(7)]
    assert sorted(taken) == list(range(7))
    assert all(i != j for i, j in enumerate(taken))
    assert np.array_equal(spoilt[2].rgb, frames[2].rgb)
    zeroed = corrupt.CorruptFrames(frames, {"depth": "zero", "rgb": "zero"})[0]
    assert not zeroed.depth.any()
    assert set(np.unique(zeroed.rgb)) == {128}


def test_holes_units_and_grey_spoil_one_thing_each() -> None:
    frame = opening.frames("synthetic:1?seed=1", size=(64, 96))[0]

    def spoilt(**how: str) -> Item:
        return corrupt.CorruptFrames(_One(frame), how)[0]

    holed = spoilt(depth="holes").depth
    assert np.mean(holed == 0) >= corrupt.HOLES_SHARE - 0.01
    assert np.array_equal(holed[holed > 0], frame.depth[holed > 0])
    np.testing.assert_allclose(spoilt(depth="unit").depth, 1000 * frame.depth)
    grey = spoilt(rgb="grey")
    assert np.array_equal(grey.rgb[..., 0], grey.rgb[..., 2])
    assert np.array_equal(grey.depth, frame.depth)


class _One:
    """A data set of one frame."""

    has_depth = True

    def __init__(self, item: Item) -> None:
        self.item = item

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Item:
        return self.item


def test_shuffling_reid_takes_another_identity_and_spoils_the_answer() -> None:
    data = opening.identities("synthetic:6?seed=3", (32, 32))
    spoilt = corrupt.corrupt_reid(data, {"nir": "shuffle"})
    sources = [next(j for j in range(72) if np.array_equal(spoilt[i].nir, data[j].nir)) for i in range(len(data))]
    assert sorted(sources) == list(range(72))
    for i, source in enumerate(sources):
        assert data.identities[source] != data.identities[i]
        assert np.array_equal(spoilt[i].rgb, data[i].rgb)

    shown = {data[i].nir.tobytes(): data[i].identity for i in range(len(data))}

    def knows_nir(rgb: NDArray[np.uint8], nir: NDArray[np.uint8]) -> Arrays:
        return {"feature": np.stack([np.eye(6, dtype=np.float32)[shown[image.tobytes()]] for image in nir])}

    session = Stand(Contract("reid", "reid-tiny", (32, 32)), knows_nir)
    clean = scoring.evaluate(session, "synthetic:6?seed=3")
    wrong = scoring.evaluate(session, "synthetic:6?seed=3", corruption="nir=shuffle")
    assert clean["map"] == 1.0
    assert wrong["map"] < 0.5


def test_one_frame_cannot_be_shuffled() -> None:
    with pytest.raises(DataError, match="nothing to shuffle"):
        corrupt.CorruptFrames(opening.frames("synthetic:1"), {"depth": "shuffle"})
