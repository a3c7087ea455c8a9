"""1 × 1 convolutions as products: same outputs, same gradients, same parameters, and back again."""

from __future__ import annotations

import copy

import torch
from torch import nn

from mutualformer.train import registry
from mutualformer.train.fitting.modules.pointwise import PointwiseProduct, use_convolutions, use_products


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
