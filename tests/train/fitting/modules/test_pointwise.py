"""1 × 1 convolutions as products: same outputs, same gradients, same parameters, and back again."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mutualformer.train import registry
from mutualformer.train.fitting.modules.pointwise import (
    PointwiseProduct,
    lay_out,
    use_convolutions,
    use_products,
)


def test_same_outputs_and_gradients() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 5, 1), nn.Conv2d(5, 5, 1, stride=2), nn.ReLU())
    other = copy.deepcopy(plain)
    assert use_products(other) == 1
    x = torch.randn(2, 3, 17, 15).to(memory_format=torch.channels_last)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [model(value) for model, value in zip((plain, other), inputs, strict=True)]
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(outputs[0], outputs[1])
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    for one, two in zip(plain.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)


def test_a_model_comes_back_as_it_was() -> None:
    model = registry.build("sod-nano", input_size=(64, 64))
    before = {name: type(module) for name, module in model.named_modules()}
    keys = list(model.state_dict())
    assert use_products(model) > 50
    assert list(model.state_dict()) == keys
    assert any(type(module) is PointwiseProduct for module in model.modules())
    use_convolutions(model)
    assert {name: type(module) for name, module in model.named_modules()} == before


def test_laid_out_on_a_cpu_is_channels_last_with_products(monkeypatch: pytest.MonkeyPatch) -> None:
    for gpu in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        model = lay_out(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 2, 1)))
        assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
        assert isinstance(model[1], PointwiseProduct) is not gpu
