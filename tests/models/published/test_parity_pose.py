"""Published pose checkpoints, run by us and by a restatement of the published forward pass on plain functions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from posewire_models.crops import normalise
from posewire_models.inference import prepare
from posewire_models.pose_resnet import PoseResNet
from posewire_models.published.catalogue import published_file
from posewire_models.published.converters import convert_state, network_of
from posewire_models.weights import load_strict
from tests.models.published import published_names as names

MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


@pytest.mark.parametrize(
    ("name", "shapes", "trunk", "head", "channels"),
    [
        ("mmpose-r50-256x192", names.mmpose_resnet(50), "backbone.", "head.", list(range(17))),
        # before 1.0 the head had another name; the ears' heatmaps are left out
        (
            "mmpose-r50-posetrack18",
            names.mmpose_resnet(50, head="keypoint_head"),
            "backbone.",
            "keypoint_head.",
            [0, 1, 2, *range(5, 17)],
        ),
        ("authors-r50-256x192", names.authors_pose_resnet(50), "", "", list(range(17))),
    ],
    ids=lambda value: value if isinstance(value, str) and "-" in value else "",
)
def test_heatmaps_are_the_published_ones(
    name: str, shapes: names.Shapes, trunk: str, head: str, channels: list[int]
) -> None:
    state = names.filled(shapes)
    picture = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)  # RGB
    colours = picture[..., ::-1] if name.startswith("authors") else picture  # theirs are as OpenCV reads them: BGR
    images = torch.from_numpy(((colours / np.float32(255)) - MEAN) / STD).permute(0, 3, 1, 2)
    expected = _published(state, trunk, head, images)[:, channels]

    file = published_file(name)
    network = network_of(dataclasses.replace(file, network={**file.network, "input_size": [64, 96]}))
    assert isinstance(network, PoseResNet)
    load_strict(network, convert_state(state, file, name), name)
    crops = torch.from_numpy(picture).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        heatmaps = prepare(network, torch.device("cpu"))(
            normalise(crops, network.config.pixel_mean, network.config.pixel_std)
        )
    assert expected.std() > 0.01  # or else anything would be equal
    torch.testing.assert_close(heatmaps, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def _published(state: dict[str, Tensor], trunk: str, head: str, images: Tensor) -> Tensor:
    """Heatmaps of a ResNet-50 with three transposed convolutions, by the names in `state`."""

    def norm(name: str, x: Tensor) -> Tensor:
        mean, variance, weight, bias = (
            state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-5).sqrt() * weight + bias

    def convolve(name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        return functional.conv2d(x, weight, None, stride, weight.shape[2] // 2)

    x = convolve(f"{trunk}conv1", images, stride=2)
    x = functional.max_pool2d(norm(f"{trunk}bn1", x).relu(), 3, 2, 1)
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(blocks):
            name, stride = f"{trunk}layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = norm(f"{name}.bn1", convolve(f"{name}.conv1", x)).relu()
            y = norm(f"{name}.bn2", convolve(f"{name}.conv2", y, stride)).relu()
            y = norm(f"{name}.bn3", convolve(f"{name}.conv3", y))
            if block == 0:
                x = norm(f"{name}.downsample.1", convolve(f"{name}.downsample.0", x, stride))
            x = (x + y).relu()
    for number in (0, 3, 6):
        x = functional.conv_transpose2d(x, state[f"{head}deconv_layers.{number}.weight"], None, 2, 1)
        x = norm(f"{head}deconv_layers.{number + 1}", x).relu()
    return functional.conv2d(x, state[f"{head}final_layer.weight"], state[f"{head}final_layer.bias"])
