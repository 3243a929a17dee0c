from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from posewire_models.training.checkpoint import (
    load_checkpoint,
    load_fitting,
    save_checkpoint,
    save_weights,
    start_file,
)
from posewire_models.weights import WeightsError, read_state


def net(out: int = 2) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, out))


def test_weights_travel_at_half_precision(tmp_path: Path) -> None:
    first, second = net(), net()
    save_weights(tmp_path / "w.safetensors", first.state_dict(), {"seed": "1"})
    load_fitting(second, tmp_path / "w.safetensors")
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert b.dtype == torch.float32
        torch.testing.assert_close(a.half().float(), b)


def test_what_half_precision_cannot_hold_keeps_its_own(tmp_path: Path) -> None:
    state = {"running_var": torch.tensor([70_000.0, 3.0]), "weight": torch.tensor([65_504.0])}
    save_weights(tmp_path / "w.safetensors", state, {})
    kept = read_state(tmp_path / "w.safetensors")
    assert kept["running_var"].tolist() == [70_000.0, 3.0]
    assert kept["weight"].dtype == torch.float16


def test_what_fits_is_taken_and_the_rest_stays(tmp_path: Path) -> None:
    first, second = net(out=2), net(out=3)  # another number of joints
    kept = second[2].weight.clone()  # type: ignore[index]
    save_weights(tmp_path / "w.safetensors", first.state_dict(), {})
    load_fitting(second, tmp_path / "w.safetensors")
    torch.testing.assert_close(second[0].weight, first[0].weight.half().float())  # type: ignore[index]
    assert torch.equal(second[2].weight, kept)  # type: ignore[index]


def test_a_prefix_is_put_before_names_that_lack_it(tmp_path: Path) -> None:
    whole = nn.Module()
    whole.features = net()
    save_weights(tmp_path / "trunk.safetensors", net().state_dict(), {})
    save_weights(tmp_path / "whole.safetensors", whole.state_dict(), {})
    for name in ("trunk", "whole"):
        load_fitting(whole, tmp_path / f"{name}.safetensors", prefix="features.")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)).state_dict(), {})
    with pytest.raises(WeightsError, match=r"does not fit.*0\.weight \(8, 3, 3, 3\) instead of \(4, 4\)"):
        load_fitting(net(), tmp_path / "w.safetensors")


@pytest.mark.parametrize("content", [b"", b"PK not a checkpoint"])
def test_damaged_checkpoints_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=r"c\.pt cannot be read"):
        load_checkpoint(tmp_path / "c.pt")


@pytest.mark.parametrize(
    ("content", "lacks"),
    [
        ({"epoch": 3}, "network"),
        ([1], "network"),
        ({"network": {}, "averaged": {}}, "optimiser"),  # of another version
    ],
)
def test_foreign_checkpoints_are_named(tmp_path: Path, content: Any, lacks: str) -> None:
    torch.save(content, tmp_path / "c.pt")
    with pytest.raises(WeightsError, match=rf"not written by this version .* no entry '{lacks}'"):
        load_checkpoint(tmp_path / "c.pt")


@pytest.mark.parametrize("save", [save_checkpoint, lambda path, state: save_weights(path, state, {})])
def test_files_that_cannot_be_written_are_named(tmp_path: Path, save: Callable[[Path, Any], None]) -> None:
    file = tmp_path / "run" / "file"
    save(file, {"weight": torch.zeros(3)})
    before, limits = file.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"run/file cannot be written: File too large"):
            save(file, {"weight": torch.zeros(200_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_weights_to_start_from_are_a_path_as_it_stands_or_one_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named, root = Path("runs/w.safetensors"), Path("data")
    with pytest.raises(WeightsError, match=r"no weight file runs/w\.safetensors nor data/runs/w\.safetensors"):
        start_file(named, root)
    for place in (root / named, named):  # the second is preferred
        place.parent.mkdir(parents=True)
        place.touch()
        assert start_file(named, root) == place
