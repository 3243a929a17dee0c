"""Every network gives the same in ONNX Runtime, at any batch size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from posewire_models.onnx_export import export_onnx
from tests.models.small_networks import ARCHITECTURES, small_network

INPUTS = {"flownet_s": "pairs"}  # the others': images
OUTPUTS = {
    "center_resnet": ["hm", "wh", "reg"],
    "center_mobilenet": ["hm", "wh", "reg"],
    "center_yolox": ["hm", "wh", "reg"],
    "yolox": ["cells"],
    "flownet_s": ["flow"],
}  # the others': heatmaps


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_same_result_in_onnx_runtime(architecture: str, tmp_path: Path) -> None:
    network = small_network(architecture)
    path = tmp_path / "network.onnx"
    export_onnx(network, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == [INPUTS.get(architecture, "images")]
    assert [each.name for each in session.get_outputs()] == OUTPUTS.get(architecture, ["heatmaps"])
    for batch in (1, 3):
        images = torch.randn(batch, network.input_channels, *network.config.input_size)
        with torch.inference_mode():
            expected = network(images)
        found = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        expected = [expected] if isinstance(expected, torch.Tensor) else list(expected)
        assert len(found) == len(expected)
        for output, reference in zip(found, expected, strict=True):
            np.testing.assert_allclose(output, reference.numpy(), rtol=1e-4, atol=1e-4)
            assert np.abs(output).max() > 0.01  # or else anything would be equal
