"""Linear layers laid out anew answer what torch's own do, and a row's answer is its own."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from services.predictor.backends.linear import (
    BLOCKED_DTYPES,
    BlockedLinear,
    Int8Linear,
    replace_linears,
)

IN, OUT = 48, 80


@pytest.fixture(params=[True, False], ids=["bias", "no bias"])
def linear(request: pytest.FixtureRequest) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(IN, OUT, bias=request.param)


@torch.inference_mode()
def test_blocked_is_torch_s_own(linear: nn.Linear) -> None:
    hidden = torch.randn(1, 37, IN)

    torch.testing.assert_close(BlockedLinear(linear)(hidden), linear(hidden))


@pytest.mark.skipif(
    torch.bfloat16 not in BLOCKED_DTYPES, reason="this processor has no kernel for bfloat16"
)
@torch.inference_mode()
def test_blocked_takes_bfloat16(linear: nn.Linear) -> None:
    hidden, linear = torch.randn(1, 37, IN).bfloat16(), linear.bfloat16()

    torch.testing.assert_close(BlockedLinear(linear)(hidden), linear(hidden), atol=2e-2, rtol=2e-2)


@torch.inference_mode()
def test_int8_is_off_by_its_rounding_and_no_more(linear: nn.Linear) -> None:
    hidden = torch.randn(1, 37, IN)

    error = (Int8Linear(linear)(hidden) - linear(hidden)).abs()

    # Half a step in each factor of each product: none of them adds more.
    weight, steps = linear.weight.abs(), hidden.abs().amax(-1, keepdim=True) / 127
    of_weight = 0.5 * weight.amax(1) / 127 * hidden.abs().sum(-1, keepdim=True)
    of_hidden = 0.5 * steps * weight.sum(1)
    of_both = 0.25 * steps * weight.amax(1) / 127 * IN
    assert (error <= of_weight + of_hidden + of_both + 1e-6).all()
    assert error.max() > 1e-4  # it does round


@pytest.mark.parametrize("make", [BlockedLinear, Int8Linear])
@torch.inference_mode()
def test_a_token_s_answer_does_not_depend_on_its_company(
    linear: nn.Linear, make: Callable[[nn.Linear], nn.Module]
) -> None:
    layer, hidden = make(linear), torch.randn(1, 64, IN)
    alone = layer(hidden[:, 5:6])

    hidden[:, 40] *= 1_000  # somebody else's outlier

    torch.testing.assert_close(layer(hidden)[:, 5:6], alone, rtol=1e-5, atol=1e-6)


@torch.inference_mode()
def test_a_token_of_zeros_is_not_divided_by_zero(linear: nn.Linear) -> None:
    answer = Int8Linear(linear)(torch.zeros(1, 2, IN))[0, 0]

    torch.testing.assert_close(answer, linear(torch.zeros(IN)))


@torch.inference_mode()
def test_no_linear_layer_is_left_out(linear: nn.Linear) -> None:
    model = nn.Sequential(nn.Linear(IN, IN), nn.ModuleDict({"deep": linear})["deep"])
    hidden = torch.randn(3, IN)
    before = model(hidden)

    replace_linears(model, BlockedLinear)

    assert [type(module) for module in model] == [BlockedLinear, BlockedLinear]
    torch.testing.assert_close(model(hidden), before)


@pytest.mark.parametrize("make", [BlockedLinear, Int8Linear])
@torch.inference_mode()
def test_shape_and_type_of_a_weight_are_there_to_be_asked_for_and_its_numbers_are_not(
    linear: nn.Linear, make: Callable[[nn.Linear], nn.Module]
) -> None:
    weight = make(linear).weight

    assert isinstance(weight, torch.Tensor)
    assert (weight.shape, weight.dtype) == (linear.weight.shape, linear.weight.dtype)
    assert nn.functional.linear(torch.randn(3, IN), weight).isnan().all()
