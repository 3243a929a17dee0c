"""torchvision's detectors, with weights from a local file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models.detection import ssdlite320_mobilenet_v3_large
from torchvision.ops import FrozenBatchNorm2d

from posewire_models.detectors import torchvision_models
from posewire_models.detectors.selection import DetectorSettings, select_people
from posewire_models.detectors.torchvision_models import (
    TorchvisionDetector,
    compute_in,
    default_weights,
    detection_network,
)
from posewire_models.frames import Frame
from posewire_models.published.store import Store
from posewire_models.weights import WeightsError

CPU = torch.device("cpu")
NAME = "ssdlite320_mobilenet_v3_large"
FASTER_RCNN = "fasterrcnn_mobilenet_v3_large_320_fpn"


def _sees_people() -> nn.Module:
    """With random weights, and a bias for people."""
    torch.manual_seed(0)
    network = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None).eval()
    for last in network.head.classification_head.module_list:
        last[1].bias.data.view(-1, 91)[:, 1] += 4.0  # 91 classes an anchor
    return network


def _frame() -> Frame:
    return Frame(np.random.default_rng(0).integers(0, 256, (120, 200, 3), dtype=np.uint8))


def test_people_of_the_model_are_reported(tmp_path: Path) -> None:
    reference, frame = _sees_people(), _frame()
    save_file(reference.state_dict(), tmp_path / "w.safetensors")
    settings = DetectorSettings(score_threshold=0.0, max_people=300)
    (found,) = TorchvisionDetector(NAME, tmp_path / "w.safetensors", settings, CPU)([frame])
    with torch.inference_mode():
        (expected,) = reference([torch.from_numpy(frame.pixels).permute(2, 0, 1) / 255])
    mine = expected["labels"] == 1
    wanted = select_people(expected["boxes"][mine], expected["scores"][mine], frame.size, settings)
    assert len(wanted) > 0
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=1e-3)


def test_as_many_people_are_reported_as_are_asked_for(tmp_path: Path) -> None:
    save_file(_sees_people().state_dict(), tmp_path / "w.safetensors")
    settings = DetectorSettings(score_threshold=0.0, max_people=400)  # by itself, the model stops at 300
    detector = TorchvisionDetector(NAME, tmp_path / "w.safetensors", settings, CPU)
    detector._network.nms_thresh = 1.0  # random weights box the same places again and again
    (found,) = detector([_frame()])
    assert len(found) == 400


def test_nobody_is_seen_in_frames_too_thin_for_the_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(detection_network(FASTER_RCNN).state_dict(), tmp_path / "w.safetensors")
    detector = TorchvisionDetector(FASTER_RCNN, tmp_path / "w.safetensors", DetectorSettings(score_threshold=0.0), CPU)
    # It reduces the long side to 640 pixels; of the last, one row is left.
    sizes = [(3, 4096), (4096, 2), (3, 1900)]
    found = detector([Frame(np.zeros((*size, 3), np.uint8)) for size in sizes])
    assert [len(each) for each in found[:2]] == [0, 0]
    assert len(found) == 3


@pytest.mark.parametrize("name", [NAME, FASTER_RCNN])
def test_layers_compute_in_half_and_boxes_in_full(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    path = tmp_path / "w.safetensors"
    save_file(detection_network(name).state_dict(), path)
    settings = DetectorSettings(score_threshold=0.0, max_people=20)
    exact, half = (TorchvisionDetector(name, path, settings, CPU, precision) for precision in ("float32", "bfloat16"))
    for detector in (exact, half):  # random weights are sure of nothing
        getattr(detector._network, "roi_heads", detector._network).score_thresh = 0.0
    frame = _frame()
    with torch.inference_mode():  # and see anything but people
        (seen,) = exact._network([frame.on(CPU).permute(2, 0, 1) / 255])
    monkeypatch.setattr(torchvision_models, "_PERSON", int(seen["labels"].mode().values))
    kinds = {parameter.dtype for parameter in half._network.parameters()}
    assert kinds == {torch.bfloat16}
    (expected,), (found,) = exact([frame]), half([frame])
    assert 0 < len(found) <= 20
    np.testing.assert_allclose(found.scores.max(), expected.scores.max(), atol=0.02)
    # Boxes of bfloat16 would lie on a grid of a pixel.
    assert len(np.unique(found.boxes % 1)) > len(found)


@pytest.mark.parametrize("norm", [FrozenBatchNorm2d(4, eps=0.0), nn.BatchNorm2d(4, eps=0.0)])
def test_filters_that_hardly_respond_or_very_strongly_are_no_trouble_in_half(norm: nn.Module) -> None:
    torch.manual_seed(0)
    network = nn.Module()
    network.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), norm).eval().requires_grad_(False)
    # Outside of float16, as they are in published weights; responses are of their size.
    gain = torch.tensor([1e-5, 1e-3, 1.0, 1e3])
    network.backbone[0].weight.mul_(gain.view(-1, 1, 1, 1))
    norm.running_mean.copy_(0.1 * gain)  # type: ignore[operator]
    norm.running_var.copy_(gain.square())  # type: ignore[operator]
    norm.weight.copy_(torch.tensor([1e-6, 1.0, 2.0, 1.0]))  # type: ignore[operator]
    norm.bias.copy_(torch.tensor([0.5, -0.5, 1.0, 0.0]))  # type: ignore[operator]
    pictures = torch.rand(2, 3, 8, 8)
    expected = network.backbone(pictures)
    compute_in(network, torch.float16)
    torch.testing.assert_close(network.backbone(pictures), expected, rtol=0, atol=5e-3)


@pytest.mark.parametrize(
    ("name", "epsilon"),
    [
        (FASTER_RCNN, 1e-5),
        ("fasterrcnn_resnet50_fpn", 0.0),  # the published weights were trained without it
    ],
)
def test_batch_norms_are_frozen_as_in_the_published_weights(
    name: str, epsilon: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    monkeypatch.setattr(torchvision_models, "read_state", lambda path: {})
    monkeypatch.setattr(torchvision_models, "load_strict", lambda network, state, source: loaded.append(network))
    with torch.device("meta"):
        TorchvisionDetector(name, tmp_path / "w.pth", DetectorSettings(), torch.device("meta"), "float32")
    norms = [module for module in loaded[0].modules() if "BatchNorm" in type(module).__name__]
    assert norms
    assert all(isinstance(norm, FrozenBatchNorm2d) and norm.eps == epsilon for norm in norms)


def test_nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    by_hand = r"give the file as torchvision:\w+:PATH, or put {}\S+\.pth"
    said = "weights: fetch them with `posewire models pull torchvision-ssdlite320`, " + by_hand.format("ssdlite320")
    with pytest.raises(WeightsError, match=said):
        default_weights(NAME, Store(tmp_path / "cache"))
    with pytest.raises(WeightsError, match="weights: " + by_hand.format("fasterrcnn")):  # not in the catalogue
        default_weights("fasterrcnn_mobilenet_v3_large_fpn", Store(tmp_path / "cache"))


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="unexpected: weight"):
        TorchvisionDetector(NAME, tmp_path / "w.safetensors", DetectorSettings(), CPU)


def test_unknown_names_are_answered_with_the_known() -> None:
    with pytest.raises(ValueError, match="known: fasterrcnn_resnet50_fpn"):
        detection_network("yolo")
