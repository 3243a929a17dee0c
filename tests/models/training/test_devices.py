from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from posewire_models.training.devices import Processes, autocast


@pytest.mark.parametrize(
    ("capability", "bf16"),
    [
        ((7, 5), False),  # Turing computes bf16 by way of fp32, at a fraction of its speed
        ((8, 0), True),  # Ampere
    ],
)
def test_bf16_is_taken_where_the_gpu_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], bf16: bool
) -> None:
    properties = SimpleNamespace(major=capability[0], minor=capability[1])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda device: True)
    assert autocast(torch.device("cuda"), "auto")._enabled == bf16


def test_geometry_is_computed_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """TF32 keeps 10 bits: places in a patch of 500 pixels would be half a pixel off."""
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    Processes.start("cuda:0")
    assert torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_unknown_devices_are_named() -> None:
    with pytest.raises(ValueError, match="unknown device 'foo'; use auto, cpu, cuda or cuda:N"):
        Processes.start("foo")
