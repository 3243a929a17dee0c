"""Every network of a bundle as ONNX, compared with its original before it has its name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from posewire_models import bundle_export
from posewire_models.architectures import build_torchvision_network
from posewire_models.bundle_export import ExportError, export_bundle
from posewire_models.detectors.onnx_runtime import OnnxDetector
from posewire_models.detectors.selection import DetectorSettings
from posewire_models.detectors.torchvision_models import detection_network
from posewire_models.frames import Frame
from posewire_models.manifest import BundleError, Component, WeightsFile
from posewire_models.onnx_export import export_detector_onnx
from posewire_models.published.errors import NotStoredError
from posewire_models.published.store import Store
from posewire_models.whole_files import file_digest
from tests.models.small_networks import write_small_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bundle(tmp_path_factory.mktemp("bundle"))


def test_the_networks_of_a_bundle_are_written_and_compared(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    written = list(export_bundle(bundle, out))
    assert [item.stage for item in written] == ["detector", "pose", "cpu_detector", "near_flow"]
    for item in written:
        assert item.path == out / f"{item.stage}.onnx"
        assert 0 <= item.difference < 1e-4
        assert item.compared > 500
        onnxruntime.InferenceSession(item.path, providers=["CPUExecutionProvider"])
    assert len(list(out.iterdir())) == 4


def test_what_differs_does_not_get_its_name(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = bundle_export._both

    def worse(network: nn.Module, path: Path, images: Tensor) -> tuple[list[np.ndarray], list[np.ndarray]]:
        expected, found = both(network, path, images)
        scale = max(1.0, *(np.abs(output).max() for output in expected))
        return expected, [output + 2e-4 * scale for output in found]

    monkeypatch.setattr(bundle_export, "_both", worse)
    with pytest.raises(ExportError, match=r"detector: .* differs by .*detector\.onnx was not written"):
        list(export_bundle(bundle, tmp_path))
    assert not list(tmp_path.iterdir())


def test_what_gives_no_numbers_does_not_get_its_name_either(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = bundle_export._both

    def overflowing(network: nn.Module, path: Path, images: Tensor) -> tuple[list[np.ndarray], list[np.ndarray]]:
        first, *others = both(network, path, images)[0]
        outputs = [first, *(np.full_like(output, np.nan) for output in others)]  # of several, the first one is sound
        return outputs, outputs

    monkeypatch.setattr(bundle_export, "_both", overflowing)
    with pytest.raises(ExportError, match=r"detector: .* differs by nan.*detector\.onnx was not written"):
        list(export_bundle(bundle, tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_detector_that_torchvision_has_not_is_told(bundle: Path, tmp_path: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["detector"] |= {"architecture": "torchvision", "network": {"name": "resnet50"}}
    for path in bundle.glob("*.safetensors"):
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="unknown torchvision detector 'resnet50'; known: fasterrcnn_resnet50_fpn"):
        list(export_bundle(tmp_path, tmp_path / "out"))


def test_a_detector_of_torchvision_may_have_the_names_of_older_files(tmp_path: Path) -> None:
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    state = detection_network(name).state_dict()
    older = {key.replace("rpn.head.conv.0.0.", "rpn.head.conv."): value for key, value in state.items()}
    assert older.keys() != state.keys()
    save_file(older, tmp_path / "w.safetensors")
    weights = WeightsFile(file="w.safetensors", sha256=file_digest(tmp_path / "w.safetensors"))
    component = Component(architecture="torchvision", network={"name": name}, weights=weights)
    network = build_torchvision_network(component, tmp_path)
    torch.testing.assert_close(network.state_dict()["rpn.head.conv.0.0.weight"], older["rpn.head.conv.weight"])


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotStoredError, match="posewire models pull paper-r50"):
        list(export_bundle("paper-r50", tmp_path / "out", Store(tmp_path / "cache")))


class _BrightSpot(nn.Module):
    """A detector in torchvision's manner: one person (label 1) at the brightest pixel, and one car beside it."""

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        brightness = images[0].mean(dim=0)
        place = brightness.flatten().argmax()
        width = brightness.shape[1]
        middle = torch.stack((place % width, place // width)).float()
        box = torch.cat((middle - 4, middle + 4))
        boxes = torch.stack((box, box + 10))
        return [{"boxes": boxes, "scores": brightness.max() * torch.tensor([0.9, 0.8]), "labels": torch.tensor([1, 3])}]


@pytest.mark.parametrize(
    ("rows", "least", "most"),
    [
        ([0, 1], 0, 0),
        ([1, 0], 0, 0),  # in another order
        ([0], 1, 1),
        ([0, 1, 2], 1, 1),  # the export has one more
        ([0, 1, 1], 1, 1),  # the same twice
        ([0, 2], 0.01, 1),
        ([], 1, 1),
    ],
)
def test_detections_are_compared_both_ways(
    rows: list[int], least: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = np.array([[0, 0, 30, 60], [100, 0, 130, 60], [400, 300, 430, 360]], np.float32)
    everything = boxes, np.array([0.9, 0.8, 0.7], np.float32), np.array([1, 1, 1])
    expected, found = ([array[kept] for array in everything] for kept in ([0, 1], np.array(rows, int)))
    monkeypatch.setattr(bundle_export, "_both", lambda *_: (expected, found))
    difference, _ = bundle_export._compare_detections(nn.Identity(), Path("detector.onnx"))
    assert least <= difference <= most


def test_a_detector_of_torchvision_can_be_named_as_an_onnx_detector(tmp_path: Path) -> None:
    path = tmp_path / "detector.onnx"
    export_detector_onnx(_BrightSpot().eval(), path, (96, 128))
    pixels = np.zeros((96, 128, 3), np.uint8)
    pixels[40, 70] = 255
    (found,) = OnnxDetector(path, DetectorSettings(), torch.device("cpu"))([Frame(pixels)])
    np.testing.assert_allclose(found.boxes, [[66, 36, 74, 44]], atol=1e-3)
    np.testing.assert_allclose(found.scores, [0.9], atol=1e-5)
