"""The whole pipeline on a GPU: the same people as on a CPU, from frames decoded there, in memory that does not grow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import numpy as np
import pytest
import torch

from posewire_benchmark.gpu_check.jpeg_speed import encoded_scene
from posewire_models.frames import Frame
from posewire_models.nvjpeg import decode_jpegs, nvjpeg_is_here
from posewire_server.config import LimitsConfig, ServerConfig
from posewire_server.decoding.decoders import Codec, PictureDecoder
from posewire_server.inference.networks import load_networks
from posewire_server.inference.outcomes import Tracked
from posewire_server.inference.pipeline import Pipeline
from posewire_server.streams.session import Session
from posewire_server.tracking import Tracker, TrackerConfig
from tests.stand_in_gpu import is_stand_in

pytestmark = pytest.mark.gpu

Result = TypeVar("Result")


async def _track(pipeline: Pipeline, streams: Sequence[Sequence[Frame]]) -> list[list[Tracked]]:
    """Each stream through the same pipeline, all at the same time."""

    async def track(name: str, frames: Sequence[Frame]) -> list[Tracked]:
        session = Session(name, Tracker(TrackerConfig(), pipeline.networks.joint_set.sigmas))
        return [await pipeline.process(session, frame) for frame in frames]

    return await asyncio.gather(*(track(str(number), frames) for number, frames in enumerate(streams)))


async def _with_pipeline(use: Callable[[Pipeline], Awaitable[Result]], device: str) -> Result:
    """What `use` makes of the nano bundle on `device`. No plug-in for asynchronous tests is needed where a GPU is."""
    config = ServerConfig(device=device, detector="bundle", runtime="torch" if device == "cpu" else "auto")
    pipeline = Pipeline(load_networks(config), config.batching)
    try:
        return await use(pipeline)
    finally:
        pipeline.close()


def _decoded(pictures: Sequence[bytes]) -> list[Frame]:
    decoder = PictureDecoder(Codec.JPEG, None, LimitsConfig())
    return [Frame(decoder.decode(data)) for data in pictures]


def _decoded_there(pictures: Sequence[bytes], gpu: torch.device) -> list[Frame]:
    if is_stand_in(gpu):
        return [Frame(torch.from_numpy(frame.pixels).to(gpu)) for frame in _decoded(pictures)]
    if not nvjpeg_is_here(gpu):
        pytest.skip("torchvision cannot decode JPEGs on this GPU")
    return [Frame(pixels) for pixels in decode_jpegs(pictures, gpu)]


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    return encoded_scene(5, people=2)  # who are far apart: of two boxes with similar scores, rounding decides


@pytest.fixture(scope="module")
def expected(pictures: list[bytes]) -> list[Tracked]:
    """What a CPU makes of them."""
    (tracked,) = asyncio.run(_with_pipeline(lambda on_cpu: _track(on_cpu, [_decoded(pictures)]), "cpu"))
    return tracked


@pytest.mark.parametrize("decoder", ["cpu", "gpu"])
def test_the_same_people_with_the_same_ids(
    decoder: str, gpu: torch.device, pictures: list[bytes], expected: list[Tracked]
) -> None:
    streams = [_decoded_there(pictures, gpu) if decoder == "gpu" else _decoded(pictures) for _ in range(2)]
    for tracked in asyncio.run(_with_pipeline(lambda on_gpu: _track(on_gpu, streams), str(gpu))):
        pairs = [(one.people, other.people) for one, other in zip(tracked, expected, strict=True)]
        alike = [(one, other) for one, other in pairs if one.ids.tolist() == other.ids.tolist()]
        assert len(alike) >= 0.8 * len(pairs)  # a box whose score is on the threshold may be in one of them alone
        moved = [
            np.linalg.norm(one.joints[..., :2] - other.joints[..., :2], axis=2)[other.joints[..., 2] > 0.3]
            for one, other in alike
        ]
        assert np.median(np.concatenate(moved)) <= 0.5


def test_memory_is_the_same_however_many_people_and_streams(real_gpu: torch.device) -> None:
    scenes = [encoded_scene(4, people) for people in (1, 6, 3)]

    async def round_of(pipeline: Pipeline, streams: int) -> tuple[int, int]:
        await _track(pipeline, [_decoded(scenes[number % len(scenes)]) for number in range(streams)])
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated(real_gpu), torch.cuda.memory_reserved(real_gpu)

    async def rounds(pipeline: Pipeline) -> tuple[tuple[int, int], tuple[int, int]]:
        for streams in (8, 1, 5, 8):
            before = await round_of(pipeline, streams)
        for streams in (1, 3, 8, 2, 6, 8, 1, 4):
            after = await round_of(pipeline, streams)
        return before, after

    before, after = asyncio.run(_with_pipeline(rounds, str(real_gpu)))
    assert after[0] <= before[0] + 2**22
    assert after[1] <= before[1] + 2**28  # torch rounds up, and keeps what it has had
