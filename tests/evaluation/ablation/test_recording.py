"""Networks run once; the tracker on the cache gives what the service's pipeline gives."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from posewire.joints import COCO17
from posewire_evaluation.ablation.cache import NetworkCache, digest_of
from posewire_evaluation.ablation.networks import BundleNetworks
from posewire_evaluation.ablation.recording import LoadedOnce, RecordedVideo, keep_poses, record
from posewire_evaluation.ablation.replay import replay
from posewire_evaluation.ablation.videos import Video, VideoError
from posewire_evaluation.errors import EvaluationError
from posewire_models.published.store import Store
from posewire_server.config import BatchingConfig
from posewire_server.inference.networks import ModelNames, Networks
from posewire_server.inference.pipeline import Pipeline
from posewire_server.streams.session import Session
from posewire_server.tracking import LONGEST_GAP, Boxes, BoxSource, TrackedPeople, Tracker, TrackerConfig
from tests.evaluation.ablation.stand_ins import CountedNetworks, CountedStages, write_pictures
from tests.server.stand_ins import picture

FRAMES = 7
LOST = frozenset({3, 4})
CONFIG = TrackerConfig()


@pytest.fixture
def video(tmp_path: Path) -> Video:
    write_pictures(tmp_path / "walk", FRAMES)
    return Video("walk", tmp_path / "walk")


def tracked_from(video: Video, networks: CountedNetworks, cache: NetworkCache, config: TrackerConfig = CONFIG) -> list:
    loaded = LoadedOnce(networks)
    record(video, loaded, cache)
    outputs = RecordedVideo(video, loaded, cache)
    tracked = replay(outputs, config)
    keep_poses(video, networks, cache, outputs.new_poses)
    return tracked


def test_no_network_runs_twice(video: Video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded, frames = [], Video.frames
    monkeypatch.setattr(Video, "frames", lambda video: decoded.append(video) or frames(video))
    cache = NetworkCache(tmp_path / "cache")
    first = CountedNetworks(CountedStages(losing=LOST))
    before = tracked_from(video, first, cache)
    # 2 people in 7 frames, in two of which flow boxes carry them on
    assert first.stages.counts == {"load": 1, "detector": FRAMES, "flow": FRAMES - 1, "pose": 2 * FRAMES}
    assert {int(source) for people in before for source in people.boxes.sources} == {BoxSource.DETECTOR, BoxSource.FLOW}
    assert len(decoded) == 3  # by each network once

    again = CountedNetworks(CountedStages(losing=LOST))
    after = tracked_from(video, again, cache)
    assert not again.stages.counts  # not even loaded
    assert_same(before, after)


def test_networks_that_cannot_be_loaded_are_named(video: Video, tmp_path: Path) -> None:
    class Faulty(CountedNetworks):
        def load(self) -> CountedStages:
            raise ValueError("a weight is missing")

    with pytest.raises(EvaluationError, match="the networks 'rectangles' cannot be loaded: a weight is missing"):
        record(video, LoadedOnce(Faulty()), NetworkCache(tmp_path / "cache"))


def test_a_variant_runs_the_pose_network_for_its_new_boxes_alone(video: Video, tmp_path: Path) -> None:
    cache = NetworkCache(tmp_path / "cache")
    tracked_from(video, CountedNetworks(CountedStages(losing=LOST)), cache, TrackerConfig(propagation=False))
    networks = CountedNetworks(CountedStages(losing=LOST))
    tracked_from(video, networks, cache)
    assert networks.stages.counts == {"load": 1, "pose": 2 * len(LOST)}


@pytest.mark.parametrize("changed", ["detector", "flow", "pose", "video"])
def test_another_network_or_video_is_not_taken_from_the_cache(changed: str, video: Video, tmp_path: Path) -> None:
    cache = NetworkCache(tmp_path / "cache")
    tracked_from(video, CountedNetworks(), cache)

    class Other(CountedNetworks):
        @property
        def identities(self) -> dict[str, str]:
            return {**super().identities, changed: "another"}

    other = Other(CountedStages())
    if changed == "video":
        write_pictures(tmp_path / "other", FRAMES, people=1)
        tracked_from(Video("walk", tmp_path / "other"), CountedNetworks(other.stages), cache)
        assert set(other.stages.counts) == {"load", "detector", "flow", "pose"}
    else:
        tracked_from(video, other, cache)
        assert set(other.stages.counts) == {"load", changed}


@pytest.mark.parametrize("config", [CONFIG, TrackerConfig(detect_every=3), TrackerConfig(propagation=False)], ids=str)
def test_the_pipeline_of_the_service_gives_the_same(config: TrackerConfig, video: Video, tmp_path: Path) -> None:
    from_cache = tracked_from(video, CountedNetworks(CountedStages(losing=LOST)), NetworkCache(tmp_path / "c"), config)
    # The pipeline's detector runs on due frames only; what it finds there must be what the recording has there.
    every = config.detect_every
    stages = CountedStages(losing=frozenset(frame // every for frame in LOST if frame % every == 0))
    assert_same(from_cache, asyncio.run(from_pipeline(stages, video, config)))


def test_after_a_long_gap_everybody_is_new_as_in_the_service(
    video: Video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elapsed = [1.0, 1.0, 1.0, LONGEST_GAP + 1, 1.0, 1.0, 1.0]
    monkeypatch.setattr(RecordedVideo, "elapsed", lambda _, frame: elapsed[frame])
    config = TrackerConfig(detect_every=2)
    found = tracked_from(video, CountedNetworks(), NetworkCache(tmp_path / "cache"), config)
    assert [people.ids.tolist() for people in found] == [[1, 2]] * 3 + [[3, 4]] * 4
    assert_same(found, asyncio.run(from_pipeline(CountedStages(), video, config, elapsed)))


async def from_pipeline(
    stages: CountedStages, video: Video, config: TrackerConfig, elapsed: Sequence[float] = (1.0,) * FRAMES
) -> list[TrackedPeople]:
    networks = Networks(stages.detector, stages.flow, stages.pose, COCO17, ModelNames("", "", "", "", 0), "cpu")
    pipeline = Pipeline(networks, BatchingConfig())
    session = Session("test", Tracker(config, COCO17.sigmas))
    try:
        return [
            (await pipeline.process(session, frame, elapsed=passed)).people
            for frame, passed in zip(video.frames(), elapsed, strict=True)
        ]
    finally:
        pipeline.close()


def assert_same(a: list[TrackedPeople], b: list[TrackedPeople]) -> None:
    assert len(a) == len(b)
    for one, other in zip(a, b, strict=True):
        assert one.ids.tolist() == other.ids.tolist()
        np.testing.assert_array_equal(one.joints, other.joints)
        np.testing.assert_array_equal(one.boxes.xyxy, other.boxes.xyxy)


def test_frames_know_when_they_were_taken(video: Video, tmp_path: Path) -> None:
    """Estimators of flow are chosen by it, as in the service."""
    assert [frame.taken_s for frame in video.frames()] == pytest.approx([number / 25 for number in range(FRAMES)])
    slow = Video("slow", clip(tmp_path / "slow.mp4", rate=8)).frames()
    assert [frame.taken_s for frame in slow] == pytest.approx([0.0, 0.125, 0.25])


def clip(path: Path, rate: int = 25, rotation: int = 0, frames: Sequence[int] = range(3)) -> Path:
    """A video of 320x240 with the frames of these numbers."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        if rotation:
            stream.set_display_rotation(rotation)
        for number in frames:
            shown = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            shown.pts, shown.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(shown))
        container.mux(stream.encode())
    return path


def test_frames_that_are_missing_are_time_that_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tracker is told as in the service, which knows when the frames were taken."""
    told: list[float] = []

    def unify(self: Tracker, detections: object, flow: object, elapsed: float = 1.0) -> Boxes:
        told.append(elapsed)
        return Boxes.empty()

    monkeypatch.setattr(Tracker, "unify", unify)
    video = Video("gap", clip(tmp_path / "gap.mp4", frames=[*range(8), 10, 11]))
    tracked_from(video, CountedNetworks(), NetworkCache(tmp_path / "cache"))
    assert told == [1] * 8 + [3, 1]


def test_frames_are_upright_as_in_the_service(tmp_path: Path) -> None:
    """A telephone's film lies on its side, and its metadata say so."""
    assert {frame.size for frame in Video("a", clip(tmp_path / "a.mp4", rotation=90)).frames()} == {(320, 240)}


def test_how_flow_is_estimated_is_part_of_what_was_run() -> None:
    choices = [BundleNetworks("nano", flow=flow, device="cpu") for flow in ("auto", "bundle", "dis", "dis:medium")]
    identities = {digest_of(choice.identities["flow"]) for choice in choices}
    assert len(identities) == len(choices)


@pytest.mark.parametrize("name", ["a.onnx", "a:b.onnx"])
@pytest.mark.parametrize("choice", ["onnx:{}", "torchvision:fasterrcnn_resnet50_fpn:{}"])
def test_a_file_is_known_by_its_content(choice: str, name: str, tmp_path: Path) -> None:
    identities = []
    for place, content in (("x", "1"), ("x", "2"), ("y", "1")):
        path = tmp_path / place / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        networks = BundleNetworks("nano", detector=choice.format(path), device="cpu")
        identities.append(networks.identities["detector"])
    first, changed, moved = map(digest_of, identities)
    assert first == moved != changed


def identities_with(*names: str) -> dict[str, Any]:
    """Those of a bundle of published weights, once these lie in the store too."""
    for name in names:
        Store().add(name, lambda file, name=name: file.write_text(name), source="here", source_sha256="0" * 64)
    return BundleNetworks("paper-r50-posetrack", device="cpu").identities


def test_other_published_weights_are_other_networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("POSEWIRE_CACHE", str(tmp_path / "weights"))
    before = identities_with("mmpose-r50-posetrack18", "torchvision-fasterrcnn-r50", "mmflow-flownets")
    after = identities_with("torchvision-fasterrcnn-r50-v2", "nvidia-flownet2-s")  # which the bundle prefers
    assert before["pose"] == after["pose"]
    assert before["detector"] != after["detector"]
    assert before["flow"] != after["flow"]


def test_a_broken_picture_is_said_with_its_frame(video: Video, tmp_path: Path) -> None:
    (video.path / "000004.png").write_bytes(b"no picture")
    with pytest.raises(VideoError, match=r"frame 4.*000004\.png"):
        record(video, LoadedOnce(CountedNetworks()), NetworkCache(tmp_path / "cache"))
    assert not list((tmp_path / "cache").rglob("*.np?"))  # half a recording is none


def test_a_frame_of_another_size_is_said_with_its_number(video: Video) -> None:
    import cv2

    cv2.imwrite(str(video.path / "000002.png"), picture(2, size=(120, 160)))
    with pytest.raises(VideoError, match=r"frame 2: it is 160x120, the first one 320x240"):
        list(video.frames())


def test_a_cut_off_video_is_said_with_its_frame(tmp_path: Path) -> None:
    path = tmp_path / "walk.mp4"
    path.write_bytes(b"\x00\x00\x00\x18ftypmp42")
    with pytest.raises(VideoError, match=r"walk\.mp4, after 0 frames: .*walk\.mp4 cannot be opened"):
        list(Video("walk", path).frames())


def test_a_video_that_ends_too_early_is_said(tmp_path: Path) -> None:
    path = tmp_path / "walk.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=2)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
        noise = np.random.default_rng(0).integers(256, size=(8, 64, 64, 3), dtype=np.uint8)
        for pixels in noise:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuvj420p")))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(VideoError, match=r"walk\.avi, after \d frames: .* is the file cut off"):
        list(Video("walk", path).frames())
