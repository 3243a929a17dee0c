"""One device for all tests of a module, so that networks are loaded there once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.stand_in_gpu import gpu_or_stand_in


@pytest.fixture(scope="module")
def gpu() -> Iterator[torch.device]:
    """A CUDA device, or its stand-in where there is none."""
    with gpu_or_stand_in() as device:
        yield device
