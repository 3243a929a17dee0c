"""Scenes as files: everything can be read back and agrees with the scene."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from posewire.joints import NANO19, POSETRACK15
from posewire.posetrack_format import category as posetrack_category
from posewire.synth import Scene, SceneConfig
from posewire.synth.export import FramesAs, write_scene


@pytest.fixture
def scene() -> Scene:
    return Scene(SceneConfig.preset("crossing", width=131, height=97, frames=6, seed=12, fps=12.5))


def test_pictures_and_flow_are_exact(scene: Scene, tmp_path: Path) -> None:
    counted: list[int] = []
    files = write_scene(scene, tmp_path / "out", frames_as=FramesAs.PNG, flow=True, progress=counted.append)
    assert counted == [1, 2, 3, 4, 5, 6]
    pictures = sorted(files.frames.iterdir())
    assert [picture.name for picture in pictures] == [f"{index:06d}.png" for index in range(6)]
    frame = scene[4]
    assert np.array_equal(cv2.imread(str(pictures[4]))[..., ::-1], frame.image)
    assert files.flow is not None
    assert len(list(files.flow.iterdir())) == 5
    with np.load(files.flow / "000004.npz") as stored:
        assert np.array_equal(stored["flow"], frame.truth.flow)
        assert np.array_equal(stored["valid"], frame.truth.flow_valid)


def test_video_has_every_frame_at_the_rate_of_the_scene(scene: Scene, tmp_path: Path) -> None:
    files = write_scene(scene, tmp_path)
    with av.open(str(files.frames)) as container:
        assert container.streams.video[0].average_rate == 12.5
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(shown) == 6
    assert shown[3].shape == (98, 132, 3)  # grown to even numbers
    assert np.abs(shown[3][:97, :131].astype(int) - scene[3].image).mean() < 8
    manifest = json.loads(files.manifest.read_text())
    assert manifest["scene"]["seed"] == 12
    assert (tmp_path / manifest["pictures"]).is_file()
    assert manifest["flow"] is None


@pytest.mark.parametrize("frames_as", FramesAs)
def test_nothing_of_an_older_scene_is_left(frames_as: FramesAs, tmp_path: Path) -> None:
    config = SceneConfig.preset("crossing", width=64, height=64, frames=4, seed=12)
    for older in FramesAs:
        write_scene(Scene(config), tmp_path, frames_as=older, flow=True)
    other = write_scene(Scene(replace(config, seed=1_000_013)), tmp_path, frames_as=FramesAs.PNG)
    files = write_scene(Scene(replace(config, frames=2)), tmp_path, frames_as=frames_as)
    there = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if "12" in str(path.relative_to(tmp_path))}
    name = "000012_synth"
    pictures = {f"images/{name}"} | {f"images/{name}/00000{place}.png" for place in range(2)}
    assert there == {f"annotations/{name}.json"} | ({f"{name}.mp4"} if frames_as is FramesAs.MP4 else pictures)
    assert files.frames.exists()
    assert len(list(other.frames.iterdir())) == 4
    assert other.annotations.exists()
    assert other.annotations.name == "000013_synth.json"  # six digits, as PoseTrack's names have


@pytest.mark.parametrize("frames_as", FramesAs)
def test_an_older_scene_stays_until_the_new_one_is_whole(frames_as: FramesAs, tmp_path: Path) -> None:
    config = SceneConfig.preset("crossing", width=64, height=64, frames=2, seed=12)
    write_scene(Scene(config), tmp_path, frames_as=frames_as, flow=True)

    def there() -> dict[Path, bytes]:
        return {path: b"" if path.is_dir() else path.read_bytes() for path in tmp_path.rglob("*")}

    before = there()

    def stop(frames: int) -> None:
        assert frames < 3, "stopped"

    with pytest.raises(AssertionError, match="stopped"):
        write_scene(Scene(replace(config, frames=4)), tmp_path, frames_as=frames_as, flow=True, progress=stop)
    assert there() == before


def test_files_of_others_stay(tmp_path: Path) -> None:
    scene = Scene(SceneConfig.preset("easy", width=64, height=64, frames=1, seed=12))
    kept = [
        tmp_path / name for name in ("000012_synth.txt", "images/000012_synth/notes.png", "flow/000012_synth/1.npz")
    ]
    for path in kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    write_scene(scene, tmp_path)
    assert all(path.exists() for path in kept)


def test_annotations_are_posetrack_2018(tmp_path: Path) -> None:
    scene = Scene(SceneConfig.preset("crossing", width=131, height=97, frames=6, seed=21, fps=4.0))
    document = json.loads(write_scene(scene, tmp_path).annotations.read_text())
    (category,) = document["categories"]
    assert category == posetrack_category()
    assert [image["frame_id"] for image in document["images"]] == [10000210000 + index for index in range(6)]
    # The official tools take a sequence's name from the folder.
    assert document["images"][0]["file_name"] == "images/000021_synth/000000.png"
    assert len({person["id"] for person in document["annotations"]}) == len(document["annotations"])
    hidden = 0
    for index, image in enumerate(document["images"]):
        people = [person for person in document["annotations"] if person["image_id"] == image["id"]]
        truth = scene[index].truth
        annotated = truth.visible_fraction >= 0.1
        hidden += int((~annotated).sum())
        assert [person["track_id"] for person in people] == truth.ids[annotated].tolist()
        for person, row in zip(people, np.nonzero(annotated)[0], strict=True):
            assert person["person_id"] == person["track_id"]
            for name, boxes in (("bbox", truth.boxes), ("bbox_head", truth.head_boxes)):
                left, top, right, bottom = boxes[row].tolist()
                assert person[name] == pytest.approx([left, top, right - left, bottom - top], abs=2e-3)
            keypoints = dict(zip(category["keypoints"], np.reshape(person["keypoints"], (17, 3)), strict=True))
            assert not np.any([keypoints["left_ear"], keypoints["right_ear"]])
            wanted = NANO19.convert(truth.joints, to=POSETRACK15)[row]
            for name, (x, y, state) in zip(POSETRACK15.names, wanted, strict=True):
                expected = (x, y, float(state == 2)) if state else (0, 0, 0)
                assert keypoints[name] == pytest.approx(expected, abs=2e-3)
    assert hidden > 0
