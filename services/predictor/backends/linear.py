"""The linear layers of a transformer, laid out beforehand for the CPU's matrix kernels.

oneDNN's kernels read weights in blocks; torch's own ``Linear`` brings them into that order in
every forward, or not at all. The operators are those that torch's own compiler calls.
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import nn

_HAS_ONEDNN: Final = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
_HAS_BFLOAT16: Final = _HAS_ONEDNN and torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001
_HAS_VNNI: Final = torch.cpu._is_vnni_supported()  # noqa: SLF001
"""Without it products are added in 16 bits, two at a time: weights take one bit less."""
BLOCKED_DTYPES: Final = tuple(
    dtype for dtype, has in ((torch.float32, _HAS_ONEDNN), (torch.bfloat16, _HAS_BFLOAT16)) if has
)
HAS_INT8: Final = _HAS_ONEDNN

_MOST: Final = 127.0
_ZERO: Final = 128
_LEAST: Final = 1e-12


def replace_linears(inside: nn.Module, make: Callable[[nn.Linear], nn.Module]) -> None:
    """Put what ``make`` makes in the place of every linear layer."""
    for name, module in list(inside.named_modules()):
        if type(module) is nn.Linear:
            inside.set_submodule(name, make(module))


class BlockedLinear(nn.Module):
    """A linear layer, float32 or bfloat16, whose weight lies in oneDNN's order."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight)  # noqa: SLF001
        self.weight = _without_numbers(linear.weight)
        self.bias = linear.bias

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[…, in] to […, out]."""
        answer: torch.Tensor = torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001
            hidden, self._weight, self.bias, "none", [], ""
        )
        return answer


class Int8Linear(nn.Module):
    """A linear layer in int8: one scale for each output of the weight, one for each token.

    Not one for the whole batch, as dynamic quantization usually has: then a row's answer would
    depend on who travels with it.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight
        most = _MOST if _HAS_VNNI else _MOST // 2
        self._scales = (weight.abs().amax(1) / most).clamp(min=_LEAST)
        whole = (weight / self._scales[:, None]).round().to(torch.int8)
        self._weight = torch.ops.onednn.qlinear_prepack(whole, None)
        self._zeros = torch.zeros(len(weight), dtype=torch.int32)
        self.weight = _without_numbers(weight)
        self.bias: torch.Tensor | None = linear.bias

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[…, in] to […, out], float32 both."""
        scales = (hidden.abs().amax(-1, keepdim=True) / _MOST).clamp_(min=_LEAST)
        # Zero is 128, not 0: oneDNN has fast kernels for unsigned inputs only.
        quantized = (hidden / scales).add_(_ZERO).round_().to(torch.uint8)
        product: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            quantized,
            1.0,
            _ZERO,
            self._weight,
            self._scales,
            self._zeros,
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        if self.bias is None:
            return product.mul_(scales)
        return torch.addcmul(self.bias, product, scales)


def _without_numbers(weight: torch.Tensor) -> torch.Tensor:
    """Shape and type, for models that ask a layer for them (T5 asks for the type).

    One that computes with it gets NaN, which the trial at load finds: the numbers are elsewhere.
    """
    return torch.full((1, 1), float("nan"), dtype=weight.dtype).expand(weight.shape)
