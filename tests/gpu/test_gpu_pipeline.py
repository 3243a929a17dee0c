"""The whole pipeline on a GPU: the same people as on a CPU, from frames decoded there, in memory that does not grow."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from posewire_models.frames import Frame
from posewire_models.nvjpeg import decode_jpegs, nvjpeg_is_here
from posewire_server.config import LimitsConfig, ServerConfig
from posewire_server.decoding import Codec, PictureDecoder
from posewire_server.gpu_check.jpeg_speed import encoded_scene
from posewire_server.networks import Networks, load_networks
from posewire_server.outcomes import Tracked
from posewire_server.pipeline import Pipeline
from posewire_server.session import Session
from posewire_server.tracking import Tracker, TrackerConfig

pytestmark = pytest.mark.gpu


def _track(networks: Networks, streams: Sequence[Sequence[Frame]]) -> list[list[Tracked]]:
    """Each stream through the same pipeline, all at the same time."""

    async def track_all() -> list[list[Tracked]]:
        pipeline = Pipeline(networks, ServerConfig().batching)

        async def track(frames: Sequence[Frame]) -> list[Tracked]:
            session = Session("test", Tracker(TrackerConfig(), networks.joint_set.sigmas))
            session.stream_id = str(id(session))
            return [await pipeline.process(session, frame) for frame in frames]

        try:
            return await asyncio.gather(*(track(frames) for frames in streams))
        finally:
            pipeline.close()

    return asyncio.run(track_all())


def _decoded(pictures: Sequence[bytes]) -> list[Frame]:
    decoder = PictureDecoder(Codec.JPEG, None, LimitsConfig())
    return [Frame(decoder.decode(data)) for data in pictures]


@pytest.mark.parametrize("decoder", ["cpu", "gpu"])
def test_the_same_people_with_the_same_ids(decoder: str, gpu: torch.device) -> None:
    pictures = encoded_scene(12)
    if decoder == "gpu" and not nvjpeg_is_here(gpu):
        pytest.skip("torchvision cannot decode JPEGs on this GPU")
    on_gpu = load_networks(ServerConfig(device=str(gpu)))
    on_cpu = load_networks(ServerConfig(device="cpu", runtime="torch"))
    streams = [
        [Frame(pixels) for pixels in decode_jpegs(pictures, gpu)] if decoder == "gpu" else _decoded(pictures)
        for _ in range(3)
    ]
    (expected,) = _track(on_cpu, [_decoded(pictures)])
    for tracked in _track(on_gpu, streams):
        assert [each.people.ids.tolist() for each in tracked] == [each.people.ids.tolist() for each in expected]
        moved = [
            np.linalg.norm(one.people.joints[..., :2] - other.people.joints[..., :2], axis=2)[
                other.people.joints[..., 2] > 0.3
            ]
            for one, other in zip(tracked, expected, strict=True)
        ]
        assert np.median(np.concatenate(moved)) <= 0.5


def test_memory_is_the_same_however_many_people_and_streams(gpu: torch.device) -> None:
    networks = load_networks(ServerConfig(device=str(gpu)))
    scenes = [encoded_scene(4, people) for people in (1, 6, 3)]

    def round_of(streams: int) -> None:
        _track(networks, [_decoded(scenes[number % len(scenes)]) for number in range(streams)])

    for streams in (8, 1, 5):
        round_of(streams)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated(gpu), torch.cuda.memory_reserved(gpu)
    for streams in (1, 3, 8, 2, 6, 8, 1, 4):
        round_of(streams)
    torch.cuda.synchronize()
    allocated, reserved = torch.cuda.memory_allocated(gpu), torch.cuda.memory_reserved(gpu)
    assert allocated <= before[0] + 2**20
    # Each round has new streams of the GPU, and torch keeps memory for each of those that it has: some tens.
    assert reserved <= before[1] + 2**28
