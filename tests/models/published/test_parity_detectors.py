"""Published detectors, run by us and by torchvision's own way of taking its published weights.

torchvision is the published network. What could differ here is how its files are read: old names, frozen batch norms
and their epsilon. torchvision's constructor is therefore handed the file that it would download.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import get_model, get_model_weights

from posewire_models.detectors.selection import DetectorSettings, select_people
from posewire_models.detectors.torchvision_models import TorchvisionDetector
from posewire_models.frames import Frame
from posewire_models.published.catalogue import published_file
from posewire_models.published.converters import convert_state
from tests.models.published import published_names as names

_SMALL = 64

DETECTORS = {
    "torchvision-fasterrcnn-r50": names.fasterrcnn_resnet50_fpn,
    "torchvision-fasterrcnn-r50-v2": names.fasterrcnn_resnet50_fpn_v2,
    "torchvision-fasterrcnn-mobilenet-320": lambda: names.torchvision_mobile("fasterrcnn_mobilenet_v3_large_320_fpn"),
    "torchvision-ssdlite320": lambda: names.torchvision_mobile("ssdlite320_mobilenet_v3_large"),
}


def _state(name: str) -> dict[str, Tensor]:
    """Random weights that find people: the background's score is lowered and the person's raised."""
    state = names.filled(DETECTORS[name](), seed=1)
    for key in state:
        if key.endswith("cls_score.bias"):
            state[key][1] += 4.0
        if "classification_head" in key and key.endswith(".bias") and state[key].numel() % 91 == 0:
            state[key].view(-1, 91)[:, 1] += 4.0  # of each level, 91 classes an anchor
    return state


def _reduce(network: Any) -> None:
    """Small pictures and few proposals, to be quick."""
    if hasattr(network, "rpn"):
        network.transform.min_size, network.transform.max_size = (_SMALL,), 2 * _SMALL
        network.rpn._pre_nms_top_n = network.rpn._post_nms_top_n = {"training": 8, "testing": 8}


@pytest.mark.parametrize("name", DETECTORS)
def test_people_are_those_of_torchvision(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = published_file(name)
    torchvision_name = file.network["name"]
    state = _state(name)
    weights = get_model_weights(torchvision_name).DEFAULT
    monkeypatch.setattr(type(weights), "get_state_dict", lambda *_, **__: dict(state))
    reference = get_model(torchvision_name, weights=weights).eval()
    save_file(convert_state(state, file, name), tmp_path / "w.safetensors")
    settings = DetectorSettings(score_threshold=0.0, max_people=300)
    detector = TorchvisionDetector(torchvision_name, tmp_path / "w.safetensors", settings, torch.device("cpu"))
    for network in (reference, detector._network):
        _reduce(network)
    frame = Frame(np.random.default_rng(0).integers(0, 256, (96, 144, 3), dtype=np.uint8))
    (found,) = detector([frame])
    with torch.inference_mode():
        (expected,) = reference([torch.from_numpy(frame.pixels).permute(2, 0, 1) / 255])
    mine = expected["labels"] == 1
    wanted = select_people(expected["boxes"][mine], expected["scores"][mine], frame.size, settings)
    assert len(wanted) > 0
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.01)
