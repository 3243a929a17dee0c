"""Published flow checkpoints, run by us and by restatements of the published inference on plain functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from posewire_models.flow_estimators import FlowNetFlow
from posewire_models.flownet_s import FlowNetS
from posewire_models.frames import Frame
from posewire_models.published.catalogue import published_file
from posewire_models.published.converters import convert_state, network_of
from posewire_models.weights import load_strict
from tests.models.published import published_names as names

SIZE = (64, 128)

Convolve = Callable[[str, Tensor], Tensor]


@pytest.mark.parametrize("name", ["nvidia-flownet2-s", "mmflow-flownets"])
def test_flow_is_the_published_one(name: str) -> None:
    shapes = names.flownet2_pytorch() if name.startswith("nvidia") else names.mmflow_flownets()
    state = names.filled(shapes)
    previous, current = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3), dtype=np.uint8)  # RGB
    expected = (_nvidia if name.startswith("nvidia") else _mmflow)(state, previous, current)

    file = published_file(name)
    network = network_of(dataclasses.replace(file, network={**file.network, "input_size": list(SIZE)}))
    assert isinstance(network, FlowNetS)
    load_strict(network, convert_state(state, file, name), name)
    (field,) = FlowNetFlow(network, torch.device("cpu"))([(Frame(previous), Frame(current))])
    found = torch.from_numpy(field.grid).permute(2, 0, 1)[None]
    # the published projects enlarge the quarter of the resolution to all of it, as we do only when asked for a point
    found = functional.interpolate(found, size=SIZE, mode="bilinear", align_corners=False)
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def _nvidia(state: dict[str, Tensor], previous: np.ndarray, current: np.ndarray) -> Tensor:
    """`FlowNet2S.forward` of flownet2-pytorch: RGB less the pair's mean, by 255; the flow enlarged, times 20."""
    pair = torch.from_numpy(np.stack((previous, current))).permute(3, 0, 1, 2).float()[None]  # (1, 3, 2, h, w)
    mean = pair.reshape(1, 3, -1).mean(dim=-1).view(1, 3, 1, 1, 1)
    pair = (pair - mean) / 255.0
    x = torch.cat((pair[:, :, 0], pair[:, :, 1]), dim=1)
    features = {}
    for level, convolutions in _encoder([[f"conv{n}"] + ([f"conv{n}_1"] if n > 2 else []) for n in range(1, 7)]):
        for place, convolution in enumerate(convolutions):
            x = _leaky(_convolve(state, f"{convolution}.0", x, stride=1 if place else 2))
        features[level] = x
    flow = _refined(
        features,
        lambda level, x: _convolve(state, f"predict_flow{level}", x),
        lambda level, x: _leaky(_deconvolve(state, f"deconv{level - 1}.0", x)),
        lambda level, flow: _deconvolve(state, f"upsampled_flow{level}_to_{level - 1}", flow),
    )
    return functional.interpolate(flow, scale_factor=4, mode="bilinear", align_corners=False) * 20.0


def _mmflow(state: dict[str, Tensor], previous: np.ndarray, current: np.ndarray) -> Tensor:
    """MMFlow's `FlowNetS`: BGR in 0..1, levels by their names, times `flow_div` 20 at the picture's size."""
    pictures = [
        torch.from_numpy(picture[..., ::-1].copy()).permute(2, 0, 1)[None] / 255 for picture in (previous, current)
    ]
    x = torch.cat(pictures, dim=1)
    features = {}
    for level, places in _encoder([[str(place) for place in range(1 if n < 3 else 2)] for n in range(1, 7)]):
        for place in places:
            name = f"encoder.layers.{level - 1}.layers.{place}.conv"
            x = _leaky(_convolve(state, name, x, stride=1 if place == "1" else 2))
        features[level] = x
    flow = _refined(
        features,
        lambda level, x: _convolve(state, f"decoder.decoders.level{level}.pred_out", x),
        lambda level, x: _leaky(_deconvolve(state, f"decoder.decoders.level{level}.deconv_out.deconvs.0", x)),
        lambda level, flow: _deconvolve(state, f"decoder.decoders.level{level}.upsample_pred.deconvs.0", flow),
    )
    return functional.interpolate(flow, size=SIZE, mode="bilinear", align_corners=False) * 20.0


def _encoder(convolutions: list[list[str]]) -> list[tuple[int, list[str]]]:
    return list(enumerate(convolutions, start=1))


def _refined(
    features: dict[int, Tensor],
    predict: Callable[[int, Tensor], Tensor],
    hand_on: Callable[[int, Tensor], Tensor],
    enlarge: Callable[[int, Tensor], Tensor],
) -> Tensor:
    """From the coarsest level to the second, each with the one before beside it."""
    x = features[6]
    for level in range(6, 2, -1):
        flow = predict(level, x)
        x = torch.cat((features[level - 1], hand_on(level, x), enlarge(level, flow)), dim=1)
    return predict(2, x)


def _convolve(state: dict[str, Tensor], name: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = state[f"{name}.weight"]
    return functional.conv2d(x, weight, state[f"{name}.bias"], stride, (weight.shape[2] - 1) // 2)


def _deconvolve(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return functional.conv_transpose2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), 2, 1)


def _leaky(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.1)
