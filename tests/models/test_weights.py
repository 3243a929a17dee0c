"""Weight files: nothing is executed, nothing is guessed."""

from __future__ import annotations

import hashlib
import math
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from posewire_models.weights import WeightsError, check_digest, load_strict, read_state, write_state


class _Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("executed",))


@pytest.mark.parametrize("kind", ["safetensors", "checkpoint", "nested checkpoint"])
def test_state_is_read(kind: str, tmp_path: Path) -> None:
    state = {"weight": torch.ones(2, 3)}
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state if kind == "checkpoint" else {"state_dict": state, "epoch": 3}, path)
    assert read_state(path)["weight"].tolist() == state["weight"].tolist()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_damaged_and_missing_files_are_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weight file"):
        read_state(tmp_path / name)
    (tmp_path / name).write_bytes(b"neither this nor that")
    with pytest.raises(WeightsError, match=name):
        read_state(tmp_path / name)


def test_pickled_code_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "w.pth"
    torch.save({"weight": _Malicious()}, path)
    with pytest.raises(WeightsError, match=r"print.*nothing was run"):
        read_state(path)
    path.write_bytes(pickle.dumps({"weight": _Malicious()}, protocol=2))
    with pytest.raises(WeightsError, match=r"print.*nothing was run"):
        read_state(path)
    assert "executed" not in capsys.readouterr().out


def test_other_content_is_refused(tmp_path: Path) -> None:
    torch.save([torch.ones(1)], tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="no dictionary of tensors"):
        read_state(tmp_path / "w.pth")


def test_mismatch_names_keys_and_shapes() -> None:
    state = {"0.weight": torch.zeros(4, 3, 1, 1), "0.bias": torch.zeros(5), "extra\n": torch.zeros(1)}
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    with pytest.raises(WeightsError) as caught:
        load_strict(network, state, "some.safetensors")
    message = str(caught.value)
    assert "some.safetensors does not fit Sequential" in message
    assert message.isprintable()
    assert "1 unexpected: extra" in message
    assert "0.bias (5,) instead of (4,)" in message
    assert "4 missing: 1.weight, 1.bias, 1.running_mean, 1.running_var" in message


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.int8, torch.bool, torch.complex64])
def test_numbers_that_are_no_weights_are_refused(kind: torch.dtype) -> None:
    state = {"weight": torch.zeros(1, 2), "bias": torch.zeros(1).to(kind)}
    with pytest.raises(WeightsError, match=r"1 of another type: bias \w+ instead of float16, .*float64$"):
        load_strict(nn.Linear(2, 1), state, "quantised.safetensors")


def test_half_precision_is_converted() -> None:
    network = nn.Linear(2, 1)
    load_strict(network, {"weight": torch.tensor([[0.5, 2.0]]).half(), "bias": torch.zeros(1).half()}, "half")
    assert network.weight.dtype == torch.float32
    assert network.weight.tolist() == [[0.5, 2.0]]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e39])
def test_numbers_that_are_not_finite_are_refused(number: float) -> None:
    state = {"weight": torch.tensor([[0.5, number]], dtype=torch.float64), "bias": torch.zeros(1).half()}
    with pytest.raises(WeightsError, match=r"damaged.safetensors holds numbers that are not finite, in weight"):
        load_strict(nn.Linear(2, 1), state, "damaged.safetensors")


def test_digest(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    check_digest(path, digest)
    check_digest(path, digest.upper())
    with pytest.raises(WeightsError, match=r"damaged or another file.*; delete it and fetch it again, or .* manifest"):
        check_digest(path, "0" * 64)
    with pytest.raises(WeightsError, match="no weight file"):
        check_digest(tmp_path / "none", digest)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_who_may_read_weights_is_for_the_user_to_say(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_state({"weight": torch.zeros(1)}, tmp_path / "w", {})
    finally:
        os.umask(before)
    assert (tmp_path / "w").stat().st_mode & 0o777 == mode


def test_the_same_weights_have_the_same_digest(tmp_path: Path) -> None:
    for time in range(8):
        write_state({"weight": torch.zeros(1)}, tmp_path / f"{time}", {"name": "n", "source": "s", "licence": "l"})
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
