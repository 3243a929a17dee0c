from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from posewire_models.subpixel import SubPixelConvolution


@given(
    stride=st.integers(1, 4),
    extra=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    bias=st.booleans(),
)
def test_it_is_the_same_function(
    stride: int, extra: tuple[int, int], padding: tuple[int, int], size: tuple[int, int], bias: bool
) -> None:
    """For every kernel with which the output is `stride` times as large as the input."""
    extra = (min(extra[0], stride - 1), min(extra[1], stride - 1))  # torch has no larger ones
    kernel = (stride + 2 * padding[0] - extra[0], stride + 2 * padding[1] - extra[1])
    if min(kernel) < stride:
        padding, extra, kernel = (0, 0), (0, 0), (stride, stride)
    deconv = nn.ConvTranspose2d(3, 2, kernel, stride, padding, extra, bias=bias)
    x = torch.randn(2, 3, *size)
    with torch.inference_mode():
        torch.testing.assert_close(SubPixelConvolution(deconv)(x), deconv(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 4, "stride": 2},  # two pixels larger
        {"kernel_size": 1, "stride": 2, "output_padding": 1},  # pixels that depend on nothing
        {"kernel_size": 4, "stride": (2, 1), "padding": (1, 0)},
        {"kernel_size": 2, "stride": 2, "groups": 2},
        {"kernel_size": 2, "stride": 2, "dilation": 2},
    ],
)
def test_others_are_refused(settings: dict[str, int]) -> None:
    deconv = nn.ConvTranspose2d(4, 4, **settings)  # type: ignore[arg-type]
    assert not SubPixelConvolution.fits(deconv)
    with pytest.raises(ValueError, match="does not enlarge its input by its stride"):
        SubPixelConvolution(deconv)
