from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.models import mobilenet_v2

from posewire_models.training.movenet_trunk import read_trunk

pytest.importorskip("ai_edge_litert", reason="reading TFLite files needs ai-edge-litert: a tool of development")


def test_the_trunk_of_movenet_fits_torchvisions_and_tells_pictures_apart(shared_data: Path) -> None:
    features = mobilenet_v2(weights=None).features.eval()
    missing = features.load_state_dict(
        read_trunk(shared_data / "teachers" / "movenet_single_pose_lightning_ptq.tflite"), strict=False
    )
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
    assert not missing.unexpected_keys
    ramp = torch.linspace(-1, 1, 192).expand(1, 3, 192, 192)
    with torch.inference_mode():
        across, down = features(ramp), features(ramp.transpose(2, 3))
    # Sane activations of a trained network, neither dead nor exploding through 52 layers.
    assert 0.05 < float(across.mean()) < 3
    assert float((across - down).abs().mean()) > 0.05
