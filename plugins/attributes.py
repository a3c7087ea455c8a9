"""The Cross-Diffusion Attention (CDA) operator's attributes: one table for every implementation.

PyTorch, the ONNX node and its function, the Triton kernels, the C++ plugin (through a generated header) and
the tests all take names, defaults and validation from here. Standard library only.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

OP_TYPE = "CrossDiffusionAttention"
DOMAIN = "mutualformer"
OPSET_VERSION = 1
PLUGIN_VERSION = "1"
PLUGIN_NAMESPACE = ""

INITS = ("identity", "cross")
VALUE_PAIRINGS = ("released", "figure")

MIN_HEAD_DIM = 4
MAX_HEAD_DIM = 128
MAX_ITERATIONS = 16


@dataclass(frozen=True)
class CdaAttributes:
    """Attributes of one CDA node.

    ``num_heads``: attention heads; the packed width 3C must divide into 3 · num_heads · head_dim.
    ``alpha``: weight of the diffused term, in [0, 1]; (1 - alpha) weighs the residual affinity P_r + P_d.
    ``iterations``: T ≥ 1 steps of the paper's recurrence A(t+1) = α S_r A(t) S_dᵀ + (1 - α)(P_r + P_d).
    ``init``: A(0): "identity", or "cross" = the cross-attention affinity softmax(s · Q_m K_oᵀ).
    ``value_pairing``: "released" (A_rd with V_d, A_dr with V_r) or "figure" (A_rd with V_r, A_dr with V_d).

    Raises ValueError naming the attribute, what was found and what is expected.
    """

    num_heads: int
    alpha: float = 0.6
    iterations: int = 1
    init: str = "identity"
    value_pairing: str = "released"

    def __post_init__(self) -> None:
        if self.num_heads < 1:
            raise ValueError(f"{OP_TYPE}: num_heads is {self.num_heads}, expected at least 1")
        if not 0.0 <= self.alpha <= 1.0:
            raise ValueError(f"{OP_TYPE}: alpha is {self.alpha}, expected a number in [0, 1]")
        if not 1 <= self.iterations <= MAX_ITERATIONS:
            raise ValueError(f"{OP_TYPE}: iterations is {self.iterations}, expected 1 to {MAX_ITERATIONS}")
        if self.init not in INITS:
            raise ValueError(f"{OP_TYPE}: init is {self.init!r}, expected one of {', '.join(INITS)}")
        if self.value_pairing not in VALUE_PAIRINGS:
            raise ValueError(
                f"{OP_TYPE}: value_pairing is {self.value_pairing!r}, expected one of {', '.join(VALUE_PAIRINGS)}"
            )

    def head_dim(self, packed_width: int) -> int:
        """Size of one head for a packed qkv of last dimension ``packed_width`` = 3 · num_heads · head_dim."""
        head_dim, rest = divmod(packed_width, 3 * self.num_heads)
        if rest or head_dim < 1:
            raise ValueError(
                f"{OP_TYPE}: packed qkv width is {packed_width}, expected a positive multiple of "
                f"3 · num_heads = {3 * self.num_heads}"
            )
        return head_dim

    def as_dict(self) -> dict[str, int | float | str]:
        """Attribute name → value, in the order of the ONNX node."""
        return asdict(self)


DEFAULTS = CdaAttributes(num_heads=1)
"""The defaults of all attributes but ``num_heads``."""
