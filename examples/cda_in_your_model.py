"""Cross-Diffusion Attention as a layer of your own: two modalities look at each other's affinity.

    python examples/cda_in_your_model.py

Needs PyTorch: pip install '.[train]' in the checkout, or the wheel with [train].
"""

import torch
from torch import Tensor, nn

from mutualformer.plugins.attributes import CdaAttributes
from mutualformer.train.cda import cross_diffusion_attention


class TwoStreamBlock(nn.Module):
    """(B, N, C) tokens of two modalities in, as many out; CDA in place of cross-attention."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.attributes = CdaAttributes(num_heads)
        self.qkv = nn.ModuleList(nn.Linear(dim, 3 * dim) for _ in range(2))
        self.out = nn.ModuleList(nn.Linear(2 * dim, dim) for _ in range(2))

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        qkv_1, qkv_2 = self.qkv[0](first), self.qkv[1](second)
        # Each answer is [own attention ‖ cross-diffusion], (B, N, 2C), at a cost linear in what plain attention needs.
        y_1, y_2 = cross_diffusion_attention(qkv_1, qkv_2, self.attributes)
        return first + self.out[0](y_1), second + self.out[1](y_2)


torch.manual_seed(0)
block = TwoStreamBlock(dim=64, num_heads=4)
colour, depth = torch.randn(2, 2, 100, 64).unbind(0)
answer, _ = block(colour, depth)
answer.square().mean().backward()

# The affinity of one modality steers the other: change depth, and the colour stream answers differently.
with torch.no_grad():
    other, _ = block(colour, torch.randn_like(depth))
print(f"tokens {tuple(answer.shape)}, change by another depth {float((answer - other).abs().mean()):.3f}")
