from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from posewire.synth import Scene, SceneConfig
from posewire_models.architectures import build_network
from posewire_models.bundle import load_bundle
from posewire_models.crops import normalise
from posewire_models.frames import Frame
from posewire_models.inference import prepare
from posewire_models.letterbox import letterbox
from posewire_models.manifest import find_bundle, read_manifest
from posewire_models.precision import precision_name, select_precision
from posewire_models.specs import PRECISIONS

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def test_auto_is_exact_on_a_cpu_and_half_on_a_gpu() -> None:
    assert select_precision("auto", CPU) is torch.float32
    assert select_precision("auto", GPU) is torch.float16
    for name in PRECISIONS[1:]:
        assert precision_name(select_precision(name, GPU)) == name


def test_others_are_refused() -> None:
    with pytest.raises(ValueError, match="use auto, float32, float16, bfloat16"):
        select_precision("int8", CPU)


@pytest.mark.parametrize(
    ("precision", "pixels"),
    [
        ("float16", 0.5),
        ("bfloat16", 6.0),  # a heatmap's cell and more: why auto does not take it
    ],
)
def test_half_precision_moves_joints_little(precision: str, pixels: float) -> None:
    (shown,) = Scene(SceneConfig(width=640, height=480, people=3, frames=1, seed=3))
    frame = Frame(shown.image)
    exact = load_bundle("nano", device="cpu", detector="none", flow="none", runtime="torch")
    half = load_bundle("nano", device="cpu", detector="none", flow="none", runtime="torch", precision=precision)
    assert (exact.precision, half.precision, half.runtime) == ("float32", precision, "torch")
    (expected,), (found,) = (bundle.pose([frame], [shown.truth.boxes]) for bundle in (exact, half))
    assert found.dtype == np.float32
    sure = expected[..., 2] > 0.3
    moved = np.abs(found - expected)[sure][:, :2].max(axis=1)
    assert len(moved) > 10
    assert np.percentile(moved, 90) <= pixels


@pytest.mark.parametrize("stage", ["detector", "pose"])
def test_activations_are_far_from_the_end_of_float16(stage: str) -> None:
    folder = find_bundle("nano")
    component = getattr(read_manifest(folder), stage)
    network = prepare(build_network(component, folder, stage), CPU)
    largest = [0.0]

    def look(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            largest[0] = max(largest[0], float(output.abs().max()))

    for module in network.modules():
        module.register_forward_hook(look)
    (shown,) = Scene(SceneConfig(width=640, height=480, people=3, frames=1, seed=3))
    height, width = network.config.input_size
    pixels, _ = letterbox([torch.from_numpy(shown.image)], (height, width))
    with torch.inference_mode():
        network(normalise(pixels, network.config.pixel_mean, network.config.pixel_std))
    assert 1.0 < largest[0] < 0.1 * torch.finfo(torch.float16).max
