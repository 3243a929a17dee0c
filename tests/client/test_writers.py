from __future__ import annotations

import json
import os
import resource
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import posewire
from posewire import (
    COCO17,
    NANO19,
    POSETRACK15,
    CocoResultsWriter,
    FrameResult,
    FrameStatus,
    InvalidSettings,
    JointSet,
    JsonLinesWriter,
    MisuseError,
    OutputError,
    Person,
    PoseTrackWriter,
    Reconnected,
    StreamInfo,
    StreamSettings,
    TrackerSettings,
    VideoWriter,
)
from posewire.posetrack_format import category as posetrack_category
from posewire.writers._video import check_video_name

INFO = StreamInfo("s1", NANO19, StreamSettings(name="door", tracker=TrackerSettings(similarity="flow", queue_length=4)))


def person(person_id: int = 1, joints: int = 19, at: float = 10.0) -> Person:
    coordinates = at + np.arange(joints, dtype=np.float32)
    scores = np.linspace(0.1, 1, joints, dtype=np.float32)
    return Person(
        person_id,
        0.75,
        np.array([at, at, 20, 40], np.float32),
        np.stack([coordinates, 2 * coordinates, scores], axis=1),
        "flow",
    )


def tracked(frame: int, *people: Person, image: Any = None) -> FrameResult:
    return FrameResult(frame, frame / 10, people=people, size=(64, 48), timings_ms={"total": 2.34567}, image=image)


def missed(frame: int, image: Any = None) -> FrameResult:
    return FrameResult(
        frame, frame / 10, FrameStatus.FAILED, reason="undecodable", message="cut off", image=image, name="b.png"
    )


# -- JSON lines --------------------------------------------------------------------------------------------------------


def test_json_lines_begin_with_a_header_and_hold_a_line_a_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with JsonLinesWriter(path, INFO, "walk.mp4") as writer:
        writer.write(tracked(0, person(3)))
        writer.write(missed(1))
        writer.write(replace(tracked(2), time_s=1 / 3))
    header, first, second, third = map(json.loads, path.read_text().splitlines())
    assert list(header) == ["joints", "joint_set", "skeleton", "source", "settings", "models"]
    assert header["joints"] == list(NANO19.names)
    assert header["joint_set"] == NANO19.name
    assert header["skeleton"] == [list(edge) for edge in NANO19.edges]
    assert header["source"] == "walk.mp4"
    assert header["settings"]["similarity"] == "flow"
    assert header["settings"]["name"] == "door"
    assert not {None, ""} & {*header["settings"].values()}
    assert list(first) == ["frame", "time_s", "people", "timings_ms"]
    assert list(first["people"][0]) == ["id", "score", "box", "joints", "source"]
    assert first["people"][0]["id"] == 3
    assert first["people"][0]["score"] == 0.75
    assert first["people"][0]["box"] == [10, 10, 20, 40]
    assert first["people"][0]["source"] == "flow"
    assert np.shape(first["people"][0]["joints"]) == (19, 3)
    assert first["people"][0]["joints"][1] == [11, 22, 0.15]
    assert first["people"][0]["joints"][18] == [28, 56, 1]
    assert first["timings_ms"] == {"total": 2.346}
    assert second == {
        "frame": 1,
        "time_s": 0.1,
        "status": "failed",
        "reason": "undecodable",
        "message": "cut off",
        "name": "b.png",
        "people": [],
    }
    assert third["time_s"] == 0.333333


def test_a_line_of_no_time_is_refused(tmp_path: Path) -> None:
    with JsonLinesWriter(tmp_path / "a.jsonl", INFO) as writer:
        with pytest.raises(InvalidSettings, match="the frame's time is nan; give seconds"):
            writer.write(replace(tracked(0), time_s=float("nan")))
        writer.write(tracked(1))  # it is as good as before
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 2


def test_json_lines_are_there_as_soon_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    writer = JsonLinesWriter(path, INFO)
    writer.write(tracked(0))
    assert len(path.read_text().splitlines()) == 2
    with pytest.raises(RuntimeError), writer:
        raise RuntimeError
    assert len(path.read_text().splitlines()) == 2  # whole lines stay
    with pytest.raises(MisuseError, match="closed"):
        writer.write(tracked(1))


# -- COCO --------------------------------------------------------------------------------------------------------------


def test_coco_results_are_what_pycocotools_evaluates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    people = [person(1, at=10.0), person(2, at=200.0)]
    path = tmp_path / "dt.json"
    with CocoResultsWriter(path, NANO19) as writer:
        writer.write(tracked(42, *people))
        writer.write(missed(43))
        writer.add(44, [])
        writer.add(45, people[:1], category_id=7)
    entries = json.loads(path.read_text())
    assert writer.missed == [43]
    of_entries = [(entry["image_id"], entry["category_id"], len(entry["keypoints"])) for entry in entries]
    assert of_entries == [(42, 1, 51), (42, 1, 51), (45, 7, 51)]
    assert entries[0]["bbox"] == [10, 10, 20, 40]
    assert entries[0]["score"] == 0.75
    truth = coco.COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": 42, "width": 640, "height": 480}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [
            {
                "id": place,
                "image_id": 42,
                "category_id": 1,
                "iscrowd": 0,
                "area": 9000.0,
                "bbox": each.box.tolist(),
                "num_keypoints": 17,
                "keypoints": np.column_stack([each.joints[:17, :2], np.full(17, 2)]).reshape(-1).tolist(),
            }
            for place, each in enumerate(people, start=1)
        ],
    }
    truth.createIndex()
    evaluation = cocoeval.COCOeval(truth, truth.loadRes(entries[:2]), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    capsys.readouterr()
    assert evaluation.stats[0] == pytest.approx(1.0)


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "umask")  # it is the whole process's: files of other threads would be open to everybody
    path = tmp_path / "dt.json"
    path.write_text("before")
    writer = CocoResultsWriter(path, COCO17)
    writer.write(tracked(0, person(joints=17)))
    assert path.read_text() == "before"
    with pytest.raises(RuntimeError), writer:
        raise RuntimeError
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["dt.json"]
    with CocoResultsWriter(path, COCO17) as writer:
        writer.write(tracked(0, person(joints=17)))
    assert len(json.loads(path.read_text())) == 1
    assert os.listdir(tmp_path) == ["dt.json"]
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


# -- PoseTrack ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("joint_set", [NANO19, POSETRACK15], ids=["nano19", "posetrack15"])
def test_posetrack_files_have_what_poseval_reads(tmp_path: Path, joint_set: JointSet) -> None:
    path = tmp_path / "a.json"
    someone = person(5, joints=len(joint_set))
    with PoseTrackWriter(path, joint_set, sequence="000342_mpii_test") as writer:
        writer.write(tracked(0, someone, person(6, joints=len(joint_set))))
        writer.write(missed(1))
        writer.write(tracked(2))
    content = json.loads(path.read_text())
    # What poseval's conversion asserts or looks up.
    (category,) = content["categories"]
    assert category == posetrack_category()
    assert [image["file_name"] for image in content["images"]] == [
        f"images/000342_mpii_test/{number:06d}.jpg" for number in range(3)
    ]
    ids = [image["id"] for image in content["images"]]
    assert ids == [image["frame_id"] for image in content["images"]] == [10003420000, 10003420001, 10003420002]
    assert [image["vid_id"] for image in content["images"]] == ["000342"] * 3
    assert [image["nframes"] for image in content["images"]] == [3] * 3
    assert [image["is_labeled"] for image in content["images"]] == [True, False, True]
    assert content["images"][1]["posewire_status"] == "failed"
    assert content["images"][1]["posewire_message"] == "cut off"
    assert "posewire_status" not in content["images"][0]
    assert [entry["image_id"] for entry in content["annotations"]] == ids[:1] * 2
    assert [entry["track_id"] for entry in content["annotations"]] == [5, 6]
    assert [entry["id"] for entry in content["annotations"]] == [1000342000000, 1000342000001]
    first = content["annotations"][0]
    keypoints = np.reshape(first["keypoints"], (17, 3))
    assert len(first["scores"]) == 17
    assert first["bbox"] == someone.box.tolist()
    assert first["score"] == 0.75
    for name in ("nose", "head_top", "left_wrist"):
        place = category["keypoints"].index(name)
        x, y, score = someone.joints[joint_set.index(name)]
        assert keypoints[place].tolist() == pytest.approx([x, y, 1])
        assert first["scores"][place] == pytest.approx(score, abs=1e-4)
    ear = category["keypoints"].index("left_ear")
    assert keypoints[ear].tolist() == [0, 0, 0]


@pytest.mark.parametrize(("people", "first_id"), [(100, 1000001000000), (101, 10000010000000)])
def test_every_person_of_a_crowd_has_an_id(people: int, first_id: int, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with PoseTrackWriter(path, COCO17) as writer:
        for number in range(2):
            writer.write(tracked(number, *(person(each, joints=17) for each in range(people))))
    ids = [entry["id"] for entry in json.loads(path.read_text())["annotations"]]
    assert ids[0] == first_id
    assert len(set(ids)) == 2 * people


def test_joints_below_the_threshold_are_no_predictions(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    doubtful, lost = person(5, joints=len(POSETRACK15)), person(6, joints=len(POSETRACK15))
    doubtful.joints[:, 2] = 0.4
    doubtful.joints[2:, 2] = 0.39
    lost.joints[:, 2] = 0.39
    with PoseTrackWriter(path, POSETRACK15, joint_score_threshold=0.4) as writer:
        writer.write(tracked(0, doubtful, lost))
    (entry,) = json.loads(path.read_text())["annotations"]
    keypoints = np.reshape(entry["keypoints"], (17, 3))
    assert entry["track_id"] == 5
    # A joint that is left out must be all zeros: with a position, the tools would count it as predicted.
    assert (keypoints[:2, 2] == 1).all()
    assert not keypoints[2:].any()
    assert entry["scores"] == [pytest.approx(0.4, abs=1e-4)] * 2 + [0] * 15
    lost.joints[:, 2] = 0
    with PoseTrackWriter(tmp_path / "all.json", POSETRACK15, joint_score_threshold=0) as writer:
        writer.write(tracked(0, doubtful, lost))
    assert len(json.loads((tmp_path / "all.json").read_text())["annotations"]) == 2


def went_on(*, resumed: bool) -> Reconnected:
    return Reconnected("host:1", "s2", resumed, "" if resumed else "another key", "lost", 1, 0.5, 0, ())


def test_ids_that_begin_anew_stay_different_in_a_posetrack_file(tmp_path: Path) -> None:
    with PoseTrackWriter(tmp_path / "a.json", NANO19) as writer:
        writer.write(tracked(0, person(4), person(1)))
        writer.write(replace(tracked(1, person(1)), reconnected=went_on(resumed=True)))
        writer.write(replace(tracked(2, person(1)), reconnected=went_on(resumed=False)))
        writer.write(tracked(3, person(2)))
        writer.write(replace(tracked(4, person(1)), reconnected=went_on(resumed=False)))
    written = json.loads((tmp_path / "a.json").read_text())["annotations"]
    assert [each["track_id"] for each in written] == [4, 1, 1, 5, 6, 7]


@pytest.mark.parametrize("resumed", [True, False])
def test_json_lines_say_where_a_stream_went_on(resumed: bool, tmp_path: Path) -> None:
    with JsonLinesWriter(tmp_path / "a.jsonl", INFO) as writer:
        writer.write(replace(tracked(0, person(1)), reconnected=went_on(resumed=resumed)))
        writer.write(tracked(1, person(1)))
    _, first, second = map(json.loads, (tmp_path / "a.jsonl").read_text().splitlines())
    refusal = "" if resumed else "another key"
    assert first["reconnected"] == {"address": "host:1", "ids_go_on": resumed, "refusal": refusal}
    assert "reconnected" not in second


def test_pictures_that_are_numbered_keep_their_names(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with PoseTrackWriter(path, COCO17) as writer:
        writer.write(FrameResult(0, 0.0, name="000007.jpg"))
    (image,) = json.loads(path.read_text())["images"]
    assert image["file_name"] == "images/000001_posewire_test/000007.jpg"
    assert image["id"] == 10000010007


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["7.jpg", "9.png"], [7, 9]),
        (["1.png", "a.png"], [0, 1]),  # with the number of its place, the second would be the first
        (["1.jpg", "1.png"], [0, 1]),
        (["frame_10.png", "frame_11.png"], [0, 1]),
        (["\u00b2.png", "3.png"], [0, 1]),  # a digit, but no number
        (["", ""], [0, 1]),
    ],
)
def test_no_two_frames_have_one_number(names: list[str], numbers: list[int], tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with PoseTrackWriter(path, COCO17) as writer:
        for place, name in enumerate(names):
            writer.write(FrameResult(place, 0.0, people=(person(joints=17), person(2, joints=17)), name=name))
    content = json.loads(path.read_text())
    assert [image["id"] - 10_000_010_000 for image in content["images"]] == numbers
    assert [int(Path(image["file_name"]).stem) for image in content["images"]] == numbers
    annotations = content["annotations"]
    assert [entry["image_id"] for entry in annotations] == [image["id"] for image in content["images"] for _ in "12"]
    assert len({entry["id"] for entry in annotations}) == len(annotations)


def test_a_frame_is_written_once(tmp_path: Path) -> None:
    with PoseTrackWriter(tmp_path / "a.json", COCO17) as writer:
        writer.write(tracked(3))
        with pytest.raises(MisuseError, match="frame 3 was written already"):
            writer.write(missed(3))


def _drawn(path: Path, joint_set: JointSet) -> VideoWriter:
    return VideoWriter(path.with_suffix(".mp4"), joint_set)


@pytest.mark.parametrize("make", [CocoResultsWriter, PoseTrackWriter, _drawn])
@pytest.mark.parametrize("joint_set", [POSETRACK15, NANO19])
def test_people_with_other_joints_are_refused(make: Any, joint_set: JointSet, tmp_path: Path) -> None:
    result = tracked(0, person(joints=17), image=np.zeros((48, 64, 3), np.uint8))
    words = f"17 joints, and {joint_set.name} has {len(joint_set)}; give"
    with make(tmp_path / "out.json", joint_set) as writer, pytest.raises(InvalidSettings, match=words):
        writer.write(result)


def test_the_name_of_a_sequence_has_a_form(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="NUMBER_NAME"):
        PoseTrackWriter(tmp_path / "a.json", COCO17, sequence="walk")


# -- video -------------------------------------------------------------------------------------------------------------


def read_video(path: Path) -> tuple[Any, list[Any]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        facts = (stream.codec_context.name, stream.codec_context.pix_fmt, stream.average_rate)
        return facts, [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)]


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((64, 48), (64, 48)),
        ((63, 47), (64, 48)),  # odd sizes gain an edge
    ],
)
def test_a_video_shows_every_frame_at_its_time(tmp_path: Path, size: tuple[int, int], shown: tuple[int, int]) -> None:
    path = tmp_path / "a.mp4"
    picture = np.full((size[1], size[0], 3), 90, np.uint8)
    with VideoWriter(path, NANO19, fps=10) as writer:
        for number in range(12):
            writer.write(tracked(number, person(1, at=12), image=picture))
    (codec, pixels, rate), frames = read_video(path)
    assert codec == ("h264" if "libx264" in av.codecs_available else "mpeg4")
    assert (pixels, rate) == ("yuv420p", 10)
    assert [time for time, _ in frames] == pytest.approx([number / 10 for number in range(12)])
    assert frames[0][1].shape == (shown[1], shown[0], 3)
    assert (abs(frames[5][1].astype(int) - 90) > 40).any()  # somebody was drawn
    assert abs(frames[5][1][:, 60:].astype(int) - 90).max() < 20  # not there, and not at the edge
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # it can be played while it is downloaded
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_mpeg4_stands_in_for_a_missing_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posewire.writers._video.av.codecs_available", {"mpeg4"})
    with VideoWriter(tmp_path / "a.mp4", COCO17, fps=10) as writer:
        for number in range(3):
            writer.write(tracked(number, image=np.zeros((48, 64, 3), np.uint8)))
    (codec, pixels, _), frames = read_video(tmp_path / "a.mp4")
    assert (codec, pixels, len(frames)) == ("mpeg4", "yuv420p", 3)


def test_gaps_in_time_stay_gaps(tmp_path: Path) -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    with VideoWriter(tmp_path / "a.mp4", COCO17, fps=10) as writer:
        writer.write(tracked(10, image=picture))
        writer.write(FrameResult(11, 1.1, FrameStatus.DROPPED, reason="superseded"))  # a frame that was never sent
        writer.write(tracked(15, image=picture))
        writer.write(tracked(15, image=picture))  # the same time twice: the next instant
    _, frames = read_video(tmp_path / "a.mp4")
    assert [time for time, _ in frames] == pytest.approx([0, 0.5, 0.5], abs=1e-3)


@pytest.mark.parametrize("name", ["a.mp4", "a.m4v", "a.mov", "a.3gp", "a.mkv"])
def test_a_gap_at_the_end_counts_for_the_length(name: str, tmp_path: Path) -> None:
    with VideoWriter(tmp_path / name, COCO17, fps=25) as writer:
        for time_s in (*(number / 25 for number in range(25)), 60.0):
            writer.add(np.zeros((48, 64, 3), np.uint8), time_s)
    with av.open(str(tmp_path / name)) as container:
        assert (container.duration or 0) / av.time_base == pytest.approx(60.04, abs=0.01)


def test_a_video_goes_on_where_the_clock_of_its_source_was_set(tmp_path: Path) -> None:
    times = [100.0, 100.1, 5.0, 5.1, 1e9, 1e9 + 0.1, 1e9 + 5, 1e9 + 4.5, 1e9 + 6]  # half a second is no other clock
    with VideoWriter(tmp_path / "a.mp4", COCO17, fps=10) as writer:
        for time_s in times:
            writer.add(np.zeros((48, 64, 3), np.uint8), time_s)
    _, frames = read_video(tmp_path / "a.mp4")
    assert [time for time, _ in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 5.4, 5.4, 6.4], abs=1e-3)


def test_trails_end_where_ids_start_anew_or_the_size_changes(tmp_path: Path) -> None:
    lost = Reconnected("b:50051", "s2", False, "no token", "killed", attempts=1, outage_s=0.1, resent=0, lost=())
    for place, (resumed, scale) in enumerate(((True, 1), (False, 1), (True, 2))):
        with VideoWriter(tmp_path / f"{place}.mp4", COCO17, fps=10, boxes=False, labels=False) as writer:
            image = np.zeros((96, 320, 3), np.uint8)
            writer.write(tracked(0, person(1, 17, at=10), image=image))
            right = person(1, 17, at=10)
            right.joints[:, 0] += 270 * scale
            again = tracked(1, right, image=np.zeros((96 * scale, 320 * scale, 3), np.uint8))
            writer.write(replace(again, reconnected=replace(lost, resumed=resumed)))
    joined, parted, resized = (read_video(tmp_path / f"{place}.mp4")[1][1][1] for place in (0, 1, 2))
    assert joined[:, 100:250].max() > 60  # one person who went there
    assert parted[:, 100:250].max() < 30  # two people with one id
    assert resized[:, 100:250].max() < 30  # one person, whose first place is that of another size


@pytest.mark.parametrize("shown", ["nothing", "boxes", "labels", "trail_length"])
def test_boxes_labels_and_trails_are_drawn_if_wanted(shown: str, tmp_path: Path) -> None:
    wanted: dict[str, Any] = {"boxes": False, "labels": False, "trail_length": 0}
    if shown in wanted:
        wanted[shown] = 40
    image = np.full((96, 320, 3), 90, np.uint8)
    with VideoWriter(tmp_path / "a.mp4", COCO17, fps=10, **wanted) as writer:
        for number, at in enumerate((20.0, 220.0, 20.0)):
            someone = person(1, 17, at=at / 4)
            someone.joints[:, 2] = 0  # unseen
            someone.box[0] = at
            again = None if number < 2 else went_on(resumed=False)
            writer.write(replace(tracked(number, someone, image=image), reconnected=again))
    _, frames = read_video(tmp_path / "a.mp4")
    assert (abs(frames[1][1].astype(int) - 90).max() > 40) == (shown != "nothing")


def test_a_rate_of_numpy_is_a_rate(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", COCO17, fps=np.float32(12.5)) as writer:  # type: ignore[arg-type]  # as arrays give it
        writer.add(np.zeros((48, 64, 3), np.uint8), 0.0)
    with VideoWriter(tmp_path / "b.mp4", COCO17) as writer:
        writer.add(np.zeros((48, 64, 3), np.uint8), 0.0)
    assert [posewire.open_source(tmp_path / name).fps for name in ("a.mp4", "b.mp4")] == [12.5, 25]


def test_a_rate_beyond_that_of_the_frame_times_costs_no_frame(tmp_path: Path) -> None:
    for fps in (1e6, 1e300):
        with VideoWriter(tmp_path / "a.mp4", COCO17, fps=fps) as writer:
            for number in range(3):
                writer.add(np.zeros((48, 64, 3), np.uint8), number / 10)
        assert len(list(posewire.open_source(tmp_path / "a.mp4"))) == 3


@pytest.mark.parametrize("fps", [0.0, -25.0, float("nan"), float("inf"), "25"])
def test_a_rate_that_is_none_is_refused(fps: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="above 0 and finite"):
        VideoWriter(tmp_path / "a.mp4", COCO17, fps=fps)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("time_s", [float("nan"), float("inf")])
def test_a_picture_of_no_time_is_refused(time_s: float, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="give seconds"), VideoWriter(tmp_path / "a.mp4", COCO17) as writer:
        writer.add(np.zeros((48, 64, 3), np.uint8), time_s)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (np.zeros((48, 64), np.uint8), r"shape is \(48, 64\)"),  # grey
        (np.zeros((48, 64, 4), np.uint8), r"shape is \(48, 64, 4\)"),  # RGBA
        (np.zeros((48, 64, 3), np.float32), "dtype float32"),
        (np.zeros((0, 64, 3), np.uint8), "at least one pixel"),
        ("a.png", "it is a str"),
    ],
)
def test_what_is_no_picture_is_refused(picture: Any, words: str, tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", COCO17) as writer:
        with pytest.raises(InvalidSettings, match=words):
            writer.add(picture, 0.0)
        writer.add(np.zeros((48, 64, 3), np.uint8), 0.0)  # others still may come
    assert len(read_video(tmp_path / "a.mp4")[1]) == 1


def test_a_picture_that_the_encoder_cannot_take_is_told_by_its_size(tmp_path: Path) -> None:
    if "libx264" not in av.codecs_available:
        pytest.skip("other encoders have other limits")
    words = r"a\.mp4 cannot be written: a video of 100x17000 pixels cannot be encoded"
    with pytest.raises(OutputError, match=words) as refused, VideoWriter(tmp_path / "a.mp4", COCO17) as writer:
        writer.add(np.zeros((17_000, 100, 3), np.uint8), 0.0)
    assert "folder" not in str(refused.value)
    assert os.listdir(tmp_path) == []


def test_a_frame_without_a_result_has_a_note(tmp_path: Path) -> None:
    picture = np.full((96, 256, 3), 200, np.uint8)
    with VideoWriter(tmp_path / "a.mp4", COCO17, fps=10) as writer:
        writer.write(missed(0, image=picture))
    _, [(_, shown)] = read_video(tmp_path / "a.mp4")
    assert abs(shown[:60].astype(int) - 200).max() < 20
    assert shown[-6:].min() < 80
    assert shown[-10:].max() > 150  # the text


def test_frames_of_another_size_are_fitted(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", COCO17, fps=10) as writer:
        writer.write(tracked(0, image=np.full((64, 64, 3), 200, np.uint8)))
        writer.write(tracked(1, image=np.full((64, 128, 3), 200, np.uint8)))
        writer.write(tracked(2, image=np.full((128, 64, 3), 200, np.uint8)))
    _, frames = read_video(tmp_path / "a.mp4")
    rows = frames[1][1].mean(axis=(1, 2))
    assert rows[:12].max() < 60  # black above
    assert rows[20:44].min() > 150
    columns = frames[2][1].mean(axis=(0, 2))
    assert columns[:12].max() < 60  # black beside it
    assert columns[20:44].min() > 150


@pytest.mark.parametrize("frames", [0, 3])
def test_a_video_that_is_given_up_leaves_nothing(tmp_path: Path, frames: int) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", COCO17)
    for number in range(frames):
        writer.write(tracked(number, image=np.zeros((48, 64, 3), np.uint8)))
    with pytest.raises(RuntimeError), writer:
        raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_without_a_picture_the_older_video_stays(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("old")
    with VideoWriter(tmp_path / "a.mp4", COCO17) as writer:
        writer.write(missed(0))
    assert (tmp_path / "a.mp4").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize("name", ["a.webm", "a.gif", "a.jpg", "a.nothing"])
def test_a_container_that_cannot_hold_the_video_is_found_out_at_once(name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.mp4"):
        VideoWriter(tmp_path / name, COCO17)
    assert os.listdir(tmp_path) == []


# frames would lose their times
@pytest.mark.parametrize("name", ["a.avi", "a.wmv", "a.mpg", "a.h264", "a.mxf"])
def test_a_container_without_times_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"frames lose their times .*\.mp4 or \.mkv"):
        VideoWriter(tmp_path / name, COCO17)
    with pytest.raises(OutputError, match=r"ends in one of \.mp4, \.mkv, \.mov") as refused:
        check_video_name(tmp_path / name)
    assert ".avi" not in str(refused.value).partition("ends in")[2]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.m4v", "a.ts", "a.flv", "a.nut"])
def test_frames_keep_their_times(name: str, tmp_path: Path) -> None:
    times = [0, 0.04, 0.08, 0.3, 0.34, 0.5, 0.9]
    with VideoWriter(tmp_path / name, COCO17, fps=25) as writer:
        for place, time_s in enumerate(times):
            writer.add(np.full((48, 64, 3), 30 * place, np.uint8), time_s)
    _, frames = read_video(tmp_path / name)
    assert [time for time, _ in frames] == pytest.approx(times, abs=1e-3)
    assert [picture.mean() for _, picture in frames] == pytest.approx([30 * place for place in range(7)], abs=4)


@pytest.mark.parametrize("name", ["a.mp4", "a.MKV", "a.mov"])
def test_names_of_videos(name: str, tmp_path: Path) -> None:
    check_video_name(tmp_path / name)
    assert os.listdir(tmp_path) == []


# .ogv accepts the encoder, and fails only during writing
@pytest.mark.parametrize("name", ["a.webm", "a.ogv", "a.txt", "a"])
def test_a_name_of_no_video_is_said_with_those_that_are(name: str) -> None:
    with pytest.raises(OutputError, match=r"\.mp4, \.mkv, \.mov"):
        check_video_name(Path(name))


@pytest.mark.parametrize("missing", [False, True])
def test_names_are_not_blamed_for_the_folder_for_temporary_files(
    missing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere" if missing else tmp_path))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))  # every write fails, as on a full disk
    try:
        check_video_name(Path("a.mp4"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == []


def test_a_tracked_frame_without_its_picture_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match="keep_images"), VideoWriter(tmp_path / "a.mp4", COCO17) as writer:
        writer.write(tracked(0))


# -- all ---------------------------------------------------------------------------------------------------------------

MAKERS: list[Callable[[Path], posewire.writers.ResultWriter]] = [
    lambda path: JsonLinesWriter(path, INFO),
    lambda path: CocoResultsWriter(path, COCO17),
    lambda path: PoseTrackWriter(path, COCO17),
    lambda path: VideoWriter(path.with_suffix(".mp4"), COCO17),
]


@pytest.mark.parametrize("make", MAKERS, ids=["jsonl", "coco", "posetrack", "video"])
def test_a_folder_that_does_not_exist_is_found_out_at_once(tmp_path: Path, make: Any) -> None:
    with pytest.raises(OutputError, match="nowhere"):
        make(tmp_path / "nowhere" / "a.json")


@pytest.mark.parametrize("fault", ["box", "joints", "score"])
@pytest.mark.parametrize("make", MAKERS[:3], ids=["jsonl", "coco", "posetrack"])
def test_people_with_values_that_are_not_finite_are_refused(make: Any, fault: str, tmp_path: Path) -> None:
    whole = person(4, joints=17)
    broken = replace(whole, **{fault: getattr(whole, fault) * float("nan")})
    with make(tmp_path / "a.json") as writer:
        with pytest.raises(InvalidSettings, match="person 4 has a box, joint or score that is not finite"):
            writer.write(tracked(0, whole, broken))
        writer.write(tracked(0, whole))
    assert "NaN" not in (tmp_path / "a.json").read_text()


@pytest.mark.parametrize("make", MAKERS, ids=["jsonl", "coco", "posetrack", "video"])
def test_closing_twice_is_harmless(tmp_path: Path, make: Any) -> None:
    writer = make(tmp_path / "a.json")
    writer.write(tracked(0, image=np.zeros((48, 64, 3), np.uint8)))
    writer.close()
    writer.close()
    writer.discard()
    assert len(os.listdir(tmp_path)) == 1


@pytest.mark.parametrize("make", MAKERS, ids=["jsonl", "coco", "posetrack", "video"])
def test_a_closed_writer_takes_no_more(tmp_path: Path, make: Any) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    with make(tmp_path / "a.json") as writer:
        writer.write(tracked(0, image=image))
    with pytest.raises(MisuseError, match="closed"):
        writer.write(tracked(1, image=image))
