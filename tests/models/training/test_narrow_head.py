from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from posewire_models.pose_mobilenet import PoseMobileNet, PoseMobileNetConfig
from posewire_models.training.checkpoint import save_weights
from posewire_models.training.narrow_head import main, narrowed
from posewire_models.weights import WeightsError, load_strict, read_state


def _network(filters: int, *, laterals: bool = True) -> PoseMobileNet:
    torch.manual_seed(0)
    config = PoseMobileNetConfig(
        joints=5, input_size=(64, 64), width=0.25, deconv_filters=(8, 8, filters), laterals=laterals
    )
    return PoseMobileNet(config).eval()


def _filled(network: PoseMobileNet, idle: list[int]) -> dict[str, Tensor]:
    """Its state, with laterals that say something and heatmaps that look at all filters but the idle ones."""
    for lateral in network.laterals.values():
        torch.nn.init.normal_(lateral.weight)
    torch.nn.init.normal_(network.final_layer.weight)
    with torch.no_grad():
        network.final_layer.weight[:, idle] *= 1e-9
    return network.state_dict()


@pytest.mark.parametrize("laterals", [True, False])
@torch.no_grad()
def test_filters_that_say_nothing_are_left_out(laterals: bool) -> None:
    wide, narrow = _network(8, laterals=laterals), _network(5, laterals=laterals)
    load_strict(narrow, narrowed(_filled(wide, idle=[0, 3, 6]), 5), "the narrow one")
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(narrow(images), wide(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("filters", "without", "says"),
    [
        (8, "", "has 8 filters"),  # not fewer
        (0, "", "has 8 filters"),
        (4, "final_layer.weight", "no deconvolution head"),  # another kind of network
    ],
)
def test_what_cannot_be_narrowed_is_refused(filters: int, without: str, says: str) -> None:
    state = {name: value for name, value in _network(8).state_dict().items() if name != without}
    with pytest.raises(WeightsError, match=says):
        narrowed(state, filters)


def test_the_command_writes_weights_that_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_weights(tmp_path / "wide.safetensors", _network(8).state_dict(), {})
    arguments = [str(tmp_path / "wide.safetensors"), "4", str(tmp_path / "narrow.safetensors")]
    monkeypatch.setattr("sys.argv", ["narrow_head", *arguments])
    main()
    load_strict(_network(4), read_state(tmp_path / "narrow.safetensors"), "the file")
