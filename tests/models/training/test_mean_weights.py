from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from posewire_models.training.checkpoint import save_weights
from posewire_models.training.mean_weights import main, mean_weights
from posewire_models.weights import WeightsError, read_state


def state(value: float, *, batches: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    return {
        "conv.weight": torch.full((2, 3), value, dtype=dtype),
        "norm.num_batches_tracked": torch.tensor(batches),
    }


def test_a_file_that_is_named_twice_counts_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, out = (tmp_path / f"{name}.safetensors" for name in ("first", "second", "out"))
    save_weights(first, state(1.0), {})
    save_weights(second, state(4.0), {})
    monkeypatch.setattr("sys.argv", ["mean_weights", str(first), str(second), str(second), "--out", str(out)])
    main()
    assert read_state(out)["conv.weight"].float().unique().tolist() == [3.0]


def test_precision_stays_and_counters_are_the_last_ones() -> None:
    # The sum would not fit into half precision.
    mean = mean_weights(
        [state(60_000.0, batches=3, dtype=torch.float16), state(60_000.0, batches=7, dtype=torch.float16)]
    )
    assert mean["conv.weight"].dtype == torch.float16
    assert mean["conv.weight"].unique().tolist() == [60_000.0]
    assert mean["norm.num_batches_tracked"].item() == 7


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"conv.weight": torch.zeros(2, 4)}, r"conv\.weight is \(2, 3\) in the first and \(2, 4\) in another"),
        ({"more": torch.zeros(1)}, "more is missing in the first"),
    ],
)
def test_weights_of_different_networks_are_refused(other: dict[str, Tensor], says: str) -> None:
    with pytest.raises(WeightsError, match=says):
        mean_weights([state(1.0), state(1.0) | other])
    with pytest.raises(WeightsError, match="no weights are given"):
        mean_weights([])
