"""torchvision's detectors, with weights from a local file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models.detection import ssdlite320_mobilenet_v3_large
from torchvision.ops import FrozenBatchNorm2d

from posewire_models.detectors import torchvision_models
from posewire_models.detectors.selection import DetectorSettings
from posewire_models.detectors.torchvision_models import TorchvisionDetector, detection_network
from posewire_models.frames import Frame
from posewire_models.weights import WeightsError

CPU = torch.device("cpu")
NAME = "ssdlite320_mobilenet_v3_large"


def test_people_of_the_model_are_reported(tmp_path: Path) -> None:
    reference = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None).eval()
    path = tmp_path / "w.safetensors"
    save_file(reference.state_dict(), path)
    detector = TorchvisionDetector(NAME, path, DetectorSettings(score_threshold=0.0, max_people=300), CPU)
    frame = Frame(np.random.default_rng(0).integers(0, 256, (120, 200, 3), dtype=np.uint8))
    (found,) = detector([frame])
    with torch.inference_mode():
        (expected,) = reference([torch.from_numpy(frame.pixels).permute(2, 0, 1) / 255])
    mine = expected["scores"][expected["labels"] == 1]
    assert len(found) == len(mine)
    np.testing.assert_allclose(found.scores, mine.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", [NAME, "fasterrcnn_mobilenet_v3_large_320_fpn"])
def test_layers_compute_in_half_and_boxes_in_full(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    path = tmp_path / "w.safetensors"
    save_file(detection_network(name).state_dict(), path)
    settings = DetectorSettings(score_threshold=0.0, max_people=20)
    exact, half = (TorchvisionDetector(name, path, settings, CPU, precision) for precision in ("float32", "bfloat16"))
    for detector in (exact, half):  # random weights are sure of nothing
        getattr(detector._network, "roi_heads", detector._network).score_thresh = 0.0
    frame = Frame(np.random.default_rng(0).integers(0, 256, (120, 200, 3), dtype=np.uint8))
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


@pytest.mark.parametrize(
    ("name", "epsilon"),
    [
        ("fasterrcnn_mobilenet_v3_large_320_fpn", 1e-5),
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
        TorchvisionDetector(name, tmp_path / "w.pth", DetectorSettings(), torch.device("meta"))
    norms = [module for module in loaded[0].modules() if "BatchNorm" in type(module).__name__]
    assert norms
    assert all(isinstance(norm, FrozenBatchNorm2d) and norm.eps == epsilon for norm in norms)


def test_nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("POSEWIRE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(
        WeightsError, match=r"torchvision:ssdlite320_mobilenet_v3_large:PATH, or put ssdlite320\S+\.pth"
    ):
        TorchvisionDetector(NAME, None, DetectorSettings(), CPU)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="unexpected: weight"):
        TorchvisionDetector(NAME, tmp_path / "w.safetensors", DetectorSettings(), CPU)


def test_unknown_names_are_answered_with_the_known() -> None:
    with pytest.raises(ValueError, match="known: fasterrcnn_resnet50_fpn"):
        TorchvisionDetector("yolo", None, DetectorSettings(), CPU)
