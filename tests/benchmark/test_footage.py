from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posewire_benchmark.clips import ClipOptions, boxes_in_a_row, make_footage
from posewire_benchmark.footage import Footage, FootageCodec
from posewire_server.config import LimitsConfig
from posewire_server.decoding.decoders import Codec, PictureDecoder
from posewire_server.decoding.video import VideoDecoder

SMALL = ClipOptions(size=(96, 64), people=2, frames=5)


def test_a_clip_goes_forth_and_back(tmp_path: Path) -> None:
    (clip,) = make_footage(SMALL)
    data = [frame.data for frame in clip.play(17)]
    assert data[5:8] == data[3:0:-1]  # back
    assert data[8:16] == data[:8]  # and again
    pixels = PictureDecoder(Codec.JPEG, None, LimitsConfig()).decode(data[0])
    assert pixels.shape == (64, 96, 3)
    clip.save(tmp_path / "clip.npz")
    read = Footage.load(tmp_path / "clip.npz")
    assert [frame.data for frame in read.frames] == [frame.data for frame in clip.frames]
    assert all((mine.boxes == other.boxes).all() for mine, other in zip(read.frames, clip.frames, strict=True))
    assert (read.name, read.size, read.codec) == (clip.name, clip.size, clip.codec)


def test_a_video_can_be_played_in_a_loop() -> None:
    (clip,) = make_footage(ClipOptions(size=(96, 64), people=1, frames=4, codec=FootageCodec.H264))
    decoder = VideoDecoder(Codec.H264, LimitsConfig())
    shown = []
    for key, frame in enumerate(clip.play(2 * len(clip.frames))):
        shown += decoder.feed(key, frame.data)
    shown += decoder.flush()
    assert [each.key for each in shown] == list(range(12))
    assert all(isinstance(each.outcome, np.ndarray) for each in shown)


def test_boxes_travel_only_when_they_are_given() -> None:
    (clip,) = make_footage(SMALL)
    frame = clip.frames[0]
    assert not frame.request(3, with_boxes=False).frame.HasField("boxes")
    request = frame.request(3, with_boxes=True)
    assert (request.frame.number, request.frame.data) == (3, frame.data)
    found = [(box.x, box.y, box.x + box.width, box.y + box.height) for box in request.frame.boxes.boxes]
    assert np.array(found) == pytest.approx(frame.boxes)


def pictures(folder: Path, *sizes: tuple[int, int]) -> Path:
    for number, (width, height) in enumerate(sizes):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((height, width, 3), 40 * number, np.uint8))
    return folder


@pytest.mark.parametrize("codec", FootageCodec)
@pytest.mark.parametrize(("size", "message"), [((1, 64), "width is 1; "), ((64, 63), "height is 63; ")])
def test_a_clip_of_a_size_that_no_scene_may_have_is_refused(
    codec: FootageCodec, size: tuple[int, int], message: str, tmp_path: Path
) -> None:
    source = pictures(tmp_path, size, size)
    with pytest.raises(ValueError, match=rf"{message}it must lie in 64\.\.4096; give --size"):
        make_footage(ClipOptions(sources=(source,), codec=codec))
    (clip,) = make_footage(ClipOptions(sources=(source,), codec=codec, size=(96, 64)))
    assert clip.size == (96, 64)


def test_a_clip_whose_size_changes_is_no_video(tmp_path: Path) -> None:
    source = pictures(tmp_path, (96, 64), (128, 96))
    with pytest.raises(ValueError, match=r"frames of 96x64, 128x96, but a stream of H\.264 has one size; give --size"):
        make_footage(ClipOptions(sources=(source,), codec=FootageCodec.H264))
    (clip,) = make_footage(ClipOptions(sources=(source,), people=1))
    for frame, size in zip(clip.frames, ((96, 64), (128, 96)), strict=True):
        assert frame.boxes == pytest.approx(boxes_in_a_row(1, size))


@given(st.integers(1, 40), st.integers(64, 4096), st.integers(64, 4096))
def test_people_in_a_row_stand_in_the_frame_and_apart(people: int, width: int, height: int) -> None:
    boxes = boxes_in_a_row(people, (width, height))
    assert boxes.shape == (people, 4)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= (width, height)).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert (boxes[1:, 0] > boxes[:-1, 2]).all()


def test_a_real_clip_has_its_own_size(shared_data: Path) -> None:
    (clip,) = make_footage(ClipOptions(sources=(shared_data / "video" / "squats.mp4",), frames=3, people=1))
    assert len(clip.frames) == 4
    assert clip.size[0] > 64
    (clip,) = make_footage(ClipOptions(sources=(shared_data / "video" / "squats.mp4",), frames=2, size=(128, 96)))
    assert clip.size == (128, 96)


@pytest.mark.parametrize("setting", [{"people": 0}, {"frames": 1}, {"size": (10, 100)}])
def test_options_out_of_range(setting: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must lie in"):
        ClipOptions(**setting)  # type: ignore[arg-type]
