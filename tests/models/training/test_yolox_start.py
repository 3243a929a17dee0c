"""YOLOX-nano out of ONNX: from a network that was written as its authors write it, and from their file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from posewire_models.inference import prepare
from posewire_models.training.yolox_start import read_yolox
from posewire_models.yolox_detector import YoloxDetector, YoloxDetectorConfig


def test_a_written_network_is_read_back_for_normalised_rgb(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = YoloxDetector(YoloxDetectorConfig()).eval()
    for module in source.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.bias, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.3, 0.6)  # type: ignore[arg-type]
    with torch.no_grad():
        # Of pixels 0..255, and none of it from beyond the border, which is black for YOLOX and grey for us.
        stem = source.backbone.stem.conv.conv.weight
        stem[..., [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0
        stem /= 100
    pixels = torch.rand(1, 3, 64, 96) * 255
    read = YoloxDetector(YoloxDetectorConfig()).eval()
    convolutions: list[nn.Conv2d] = []
    with torch.inference_mode():
        expected = source(pixels.flip(1))
        for module in prepare(source, torch.device("cpu")).modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(lambda layer, _, __: convolutions.append(layer))  # type: ignore[arg-type]
        source(pixels.flip(1))
        _write(tmp_path / "yolox.onnx", convolutions)
        missing = read.load_state_dict(read_yolox(tmp_path / "yolox.onnx"), strict=False)
        found = read((pixels - 128) / 128)
    assert all(name.endswith(".num_batches_tracked") for name in missing.missing_keys)
    assert not missing.unexpected_keys
    assert expected.std() > 0.01
    assert torch.allclose(found, expected, atol=1e-4)


def test_the_published_file_tells_the_same_of_people(shared_data: Path) -> None:
    file = shared_data / "teachers" / "yolox_nano.onnx"
    network = YoloxDetector(YoloxDetectorConfig()).eval()
    network.load_state_dict(read_yolox(file), strict=False)
    model = onnx.load(str(file))
    values = {entry.name: torch.from_numpy(numpy_helper.to_array(entry).copy()) for entry in model.graph.initializer}
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    stem = network.backbone.stem.conv
    with torch.no_grad():  # back to its own colours and its own border
        stem.conv.weight.copy_(values[first.input[1]])
        stem.bn.bias.copy_(values[first.input[2]])
    pixels = torch.rand(1, 3, 416, 416, generator=torch.Generator().manual_seed(1)) * 255
    with torch.inference_mode():
        told = network(pixels)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {session.get_inputs()[0].name: pixels.numpy()})
    assert expected.shape[1:] == (told.shape[1], 85)
    np.testing.assert_allclose(told[..., :4], expected[..., :4], atol=1e-3)
    np.testing.assert_allclose(told[..., 4:].sigmoid(), expected[..., 4:6], atol=1e-4)


def test_another_network_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "other.onnx", [nn.Conv2d(3, 8, 3)])
    with pytest.raises(
        ValueError, match=r"backbone.stem.conv has the shape \(8, 3, 3, 3\) instead of \(16, 12, 3, 3\)"
    ):
        read_yolox(tmp_path / "other.onnx")


def _write(file: Path, convolutions: list[nn.Conv2d]) -> None:
    """An ONNX file with these convolutions in this order, of which the reader wants nothing but weights and biases."""
    nodes, values = [], []
    for number, layer in enumerate(convolutions):
        assert layer.bias is not None
        for name, value in ((f"w{number}", layer.weight), (f"b{number}", layer.bias)):
            values.append(numpy_helper.from_array(value.detach().contiguous().numpy(), name))
        nodes.append(helper.make_node("Conv", [f"x{number}", f"w{number}", f"b{number}"], [f"x{number + 1}"]))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x0", f"x{len(nodes)}")]
    onnx.save(helper.make_model(helper.make_graph(nodes, "convolutions", ends[:1], ends[1:], values)), str(file))
