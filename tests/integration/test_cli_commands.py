"""The commands against a running server: results, files, exit statuses."""

from __future__ import annotations

import json
import re
import shutil
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from posewire.cli.application import app
from posewire.joints import COCO17
from posewire.writers import VideoWriter
from posewire_models.manifest import find_bundle
from tests.server.serving import serving
from tests.server.stand_ins import BlueShyPose, jpeg, networks, picture, png

FRAMES = 12


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving(networks(pose=BlueShyPose())) as address:
        yield address


@pytest.fixture(scope="module")
def blind_server() -> Iterator[str]:
    with serving(networks(detector=None)) as address:
        yield address


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("clip") / "000007_walk.mp4"
    with VideoWriter(path, COCO17, fps=25) as writer:
        for step in range(FRAMES):
            writer.add(picture(step), step / 25)
    return str(path)


def with_orientation(data: bytes, orientation: int) -> bytes:
    """A JPEG or PNG with EXIF data that only contains the orientation."""
    exif = b"MM\0\x2a" + struct.pack(">IHHHIHHI", 8, 1, 0x112, 3, 1, orientation, 0, 0)
    if data.startswith(b"\xff\xd8"):
        segment = b"Exif\0\0" + exif
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
    chunk = b"eXIf" + exif
    header_end = 8 + 25  # the signature, and the header as the first chunk
    packed = struct.pack(">I", len(exif)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data[:header_end] + packed + data[header_end:]


def run(*arguments: str) -> Any:
    return CliRunner(env={"COLUMNS": "120", "TERM": "dumb"}).invoke(app, list(arguments))


def test_track_writes_json_lines_and_a_video(server: str, clip: str, tmp_path: Path) -> None:
    out, video = tmp_path / "out.jsonl", tmp_path / "out.mp4"
    flags = ["--similarity", "pose", "--no-propagation", "--queue-length", "7", "--detect-every", "1", "--name", "door"]
    result = run("track", clip, "--server", server, "--out", str(out), "--render", str(video), *flags)
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"{FRAMES} frames tracked, 2 identities" in result.stderr
    assert f"wrote {out}" in result.stderr
    header, *frames = map(json.loads, out.read_text().splitlines())
    assert header["joints"] == list(COCO17.names)
    assert header["source"] == clip
    wanted = {"similarity": "pose", "propagation": False, "queue_length": 7, "detect_every": 1, "name": "door"}
    assert wanted.items() <= header["settings"].items()
    assert [frame["frame"] for frame in frames] == list(range(FRAMES))
    for frame in frames:
        assert sorted(person["id"] for person in frame["people"]) == [1, 2]
        assert len(frame["people"][0]["box"]) == 4
        assert np.shape(frame["people"][0]["joints"]) == (17, 3)
        assert {"decode", "pose", "track", "total"} <= frame["timings_ms"].keys()
    with av.open(str(video)) as container:
        assert sum(1 for _ in container.decode(video=0)) == FRAMES


def test_quiet_says_nothing_when_all_is_well(server: str, clip: str, tmp_path: Path) -> None:
    result = run("track", clip, "--server", server, "--out", str(tmp_path / "o.jsonl"), "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def test_track_stops_after_max_frames(server: str, clip: str, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert run("track", clip, "--server", server, "--out", str(out), "--max-frames", "3").exit_code == 0
    assert len(out.read_text().splitlines()) == 1 + 3


def test_track_writes_coco_and_posetrack(server: str, clip: str, tmp_path: Path) -> None:
    coco, posetrack = tmp_path / "coco.json", tmp_path / "posetrack.json"
    for out, form in ((coco, "coco"), (posetrack, "posetrack")):
        assert run("track", clip, "--server", server, "--out", str(out), "--format", form).exit_code == 0
    assert len(json.loads(coco.read_text())) == 2 * FRAMES
    content = json.loads(posetrack.read_text())
    assert {person["track_id"] for person in content["annotations"]} == {1, 2}
    assert content["images"][0]["vid_id"] == "000007"  # from the name of the clip, which is a sequence name


def test_results_can_go_to_standard_output(server: str, clip: str) -> None:
    command = [sys.executable, "-m", "posewire", "track", clip, "--server", server, "--out", "-"]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in finished.stdout.splitlines()]
    assert [line["frame"] for line in lines[1:]] == list(range(FRAMES))
    assert "frames tracked" in finished.stderr


def test_a_frame_without_result_is_status_1_with_a_count(server: str, tmp_path: Path) -> None:
    """One frame makes the pose network fail, another file is not a picture; the others are tracked."""
    for step in range(6):
        pixels = picture(step)
        if step == 2:
            pixels[:8, :8] = (0, 0, 255)
        (tmp_path / f"{step}.png").write_bytes(png(pixels))
    (tmp_path / "4.png").write_bytes(b"no picture")
    out = tmp_path / "out.jsonl"
    flags = ["--server", server, "--out", str(out), "--render", str(tmp_path / "o.mp4"), "--quiet"]
    result = run("track", str(tmp_path), *flags)
    assert result.exit_code == 1
    assert "2 of 6 frames without a result" in result.stderr
    statuses = [json.loads(line).get("status") for line in out.read_text().splitlines()[1:]]
    assert statuses == [None, None, "failed", None, "failed", None]


def test_no_server_at_the_address(clip: str) -> None:
    result = run("track", clip, "--server", "127.0.0.1:1")
    assert result.exit_code == 1
    assert "127.0.0.1:1" in result.stderr
    assert "posewire serve" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", [["track"], ["demo"]])
def test_a_server_without_detector_is_said_with_the_remedy(
    command: list[str], blind_server: str, clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*command, clip, "--server", blind_server)
    assert result.exit_code == 1
    assert "has no person detector" in result.stderr
    assert "--detector onnx:PATH" in result.stderr


def test_ctrl_c_finishes_the_files(server: str, tmp_path: Path) -> None:
    """An endless source is interrupted; the results until then are complete."""
    pipe, out, video = tmp_path / "endless", tmp_path / "out.jsonl", tmp_path / "out.mp4"
    pipe.mkdir()
    for step in range(2000):
        (pipe / f"{step}.jpg").write_bytes(jpeg(picture(step % 20, size=(96, 320))))
    command = [sys.executable, "-m", "posewire", "track", str(pipe), "--server", server]
    with subprocess.Popen(
        [*command, "--out", str(out), "--render", str(video)], stderr=subprocess.PIPE, text=True
    ) as ours:
        while not (out.exists() and out.read_text().count("\n") > 3):
            assert ours.poll() is None
        ours.send_signal(signal.SIGINT)
        _, said = ours.communicate(timeout=60)
    assert ours.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    with av.open(str(video)) as container:
        shown = sum(1 for _ in container.decode(video=0))
    assert 3 <= shown == len(lines) - 1 < 2000


def test_ctrl_c_in_a_demo_is_no_success(server: str, tmp_path: Path) -> None:
    pictures, video = tmp_path / "endless", tmp_path / "out.mp4"
    pictures.mkdir()
    content = jpeg(picture(3, size=(96, 320)))
    for step in range(1000):
        (pictures / f"{step}.jpg").write_bytes(content)
    script = (
        "import os, signal, posewire.cli.streaming as streaming\n"
        "from posewire.cli.application import app\n"
        "add = streaming.Account.add\n"
        "def counted(account, result):\n"
        "    add(account, result)\n"
        "    if result.frame == 5: os.kill(os.getpid(), signal.SIGINT)\n"
        "streaming.Account.add = counted\n"
        "app()"
    )
    command = [sys.executable, "-c", script, "demo", str(pictures), "--server", server, "--render", str(video)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert finished.returncode == 130
    assert "interrupted" in finished.stderr
    assert f"wrote {video}" in finished.stderr


def test_a_quiet_demo_says_nothing_when_all_is_well(server: str, clip: str, tmp_path: Path) -> None:
    result = run("demo", clip, "--server", server, "--render", str(tmp_path / "o.mp4"), "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def test_pictures_that_cannot_be_read_leave_the_older_video(server: str, tmp_path: Path) -> None:
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics" / "1.jpg").write_text("no picture")
    video = tmp_path / "exists.mp4"
    video.write_text("old")
    result = run("track", str(tmp_path / "pics"), "--server", server, "--render", str(video))
    assert result.exit_code == 1
    assert video.read_text() == "old"
    assert f"wrote {video}" not in result.stderr


def test_poses_answers_for_every_picture(server: str, tmp_path: Path) -> None:
    folder, out = tmp_path / "pictures", tmp_path / "dt.json"
    folder.mkdir()
    for number in (3, 11, 20):
        (folder / f"{number:06d}.jpg").write_bytes(jpeg(picture(number)))
    cv2.imwrite(str(folder / "000021.bmp"), picture(0, people=1))
    result = run("poses", str(folder), "--server", server, "--out", str(out))
    assert (result.exit_code, result.stdout) == (0, "")
    assert "4 pictures, 7 people" in result.stderr
    entries = json.loads(out.read_text())
    assert [entry["image_id"] for entry in entries] == [3, 3, 11, 11, 20, 20, 21]
    assert all(len(entry["keypoints"]) == 51 and len(entry["bbox"]) == 4 for entry in entries)
    assert "note" not in result.stderr
    (folder / "000021.bmp").rename(folder / "last.bmp")
    result = run("poses", str(folder), "--server", server, "--out", str(out), "--quiet")
    assert "note: the image ids are running numbers from 1" in result.stderr
    assert [entry["image_id"] for entry in json.loads(out.read_text())] == [1, 1, 2, 2, 3, 3, 4]


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_poses_are_found_in_pictures_as_they_are_shown(server: str, tmp_path: Path, suffix: str) -> None:
    """A phone held upright stores a rotated picture, with the rotation in its EXIF data."""
    folder, out = tmp_path / "pictures", tmp_path / "dt.json"
    folder.mkdir()
    turns = {1: None, 3: cv2.ROTATE_180, 6: cv2.ROTATE_90_COUNTERCLOCKWISE, 8: cv2.ROTATE_90_CLOCKWISE}
    for orientation, turn in turns.items():
        stored = picture(3) if turn is None else cv2.rotate(picture(3), turn)
        file = folder / f"{orientation}.{suffix}"
        file.write_bytes(with_orientation(jpeg(stored) if suffix == "jpg" else png(stored), orientation))
    result = run("poses", str(folder), "--server", server, "--out", str(out))
    assert result.exit_code == 0, result.stderr
    entries = json.loads(out.read_text())
    assert [entry["image_id"] for entry in entries] == [1, 1, 3, 3, 6, 6, 8, 8]
    for entry, upright in zip(entries, entries[:2] * 4, strict=True):
        assert entry["bbox"] == pytest.approx(upright["bbox"], abs=2)


def test_poses_in_the_boxes_of_a_ground_truth(blind_server: str, tmp_path: Path) -> None:
    folder, out, truth = tmp_path / "pictures", tmp_path / "dt.json", tmp_path / "gt.json"
    folder.mkdir()
    for name in ("one", "two", "stranger"):
        (folder / f"{name}.jpg").write_bytes(jpeg(picture()))
    boxes = [[10.0 + row, 60.0, 40.0, 120.0] for row in range(70)]  # more than a server takes at a time
    annotations = [{"image_id": 8, "category_id": 3, "bbox": box} for box in boxes]
    annotations.append({"image_id": 7, "category_id": 3, "bbox": [0, 0, 9, 9]})
    names = {7: "not_here.jpg", 8: "one.jpg", 9: "two.jpg", 10: "nobody_and_not_here.jpg"}
    images = [{"id": number, "file_name": name} for number, name in names.items()]
    categories = [{"id": 1, "name": "car"}, {"id": 3, "name": "person"}]
    truth.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    result = run("poses", str(folder), "--boxes", str(truth), "--server", blind_server, "--out", str(out))
    assert result.exit_code == 0
    assert re.search(r"pictures that are not in \S+gt.json, and are left out: 1$", result.stderr, re.MULTILINE)
    assert re.search(r"images with people in \S+gt.json that are not in \S+: 1, e.g. not_here.jpg;", result.stderr)
    entries = json.loads(out.read_text())
    assert {(entry["image_id"], entry["category_id"]) for entry in entries} == {(8, 3)}
    assert [entry["bbox"] for entry in entries] == [pytest.approx(box, abs=0.01) for box in boxes]


def test_poses_need_no_flow(tmp_path: Path) -> None:
    """A private server estimates poses with a bundle whose flow estimator is missing, or not yet fetched."""
    folder, out, bundle = tmp_path / "pictures", tmp_path / "dt.json", tmp_path / "bundle"
    folder.mkdir()
    (folder / "1.jpg").write_bytes(jpeg(picture()))
    shutil.copytree(find_bundle("nano"), bundle)
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps({**manifest, "flow": None}))
    result = run("poses", str(folder), "--bundle", str(bundle), "--out", str(out))
    assert result.exit_code == 0, result.stderr
    assert "1 picture," in result.stderr
    assert isinstance(json.loads(out.read_text()), list)


def test_poses_counts_pictures_that_fail(server: str, tmp_path: Path) -> None:
    folder, out = tmp_path / "pictures", tmp_path / "dt.json"
    folder.mkdir()
    (folder / "1.jpg").write_bytes(jpeg(picture()))
    (folder / "2.jpg").write_bytes(jpeg(picture())[:300])
    (folder / "3.png").write_bytes(b"")
    (folder / "4.bmp").write_bytes(b"no picture")
    (folder / "5.png").mkdir()
    result = run("poses", str(folder), "--server", server, "--out", str(out), "--quiet")
    assert result.exit_code == 1
    assert "4 of 5 pictures without a result" in result.stderr
    assert "  5.png: Is a directory\n" in result.stderr
    assert {entry["image_id"] for entry in json.loads(out.read_text())} == {1}
    assert run("poses", str(folder), "--server", "127.0.0.1:1", "--out", str(out)).exit_code == 1


def test_demo_sends_true_boxes_where_there_is_no_detector_and_says_so(blind_server: str, tmp_path: Path) -> None:
    video = tmp_path / "demo.mp4"
    flags = ["--frames", "8", "--people", "3", "--seed", "2", "--preset", "easy"]
    result = run("demo", "--server", blind_server, "--render", str(video), *flags)
    assert result.exit_code == 0
    assert "TRUE BOXES" in result.stderr
    assert f"wrote {video}" in result.stderr
    for figure in ("8 tracked", "frames/s", "latency", "identity switches", "px mean error"):
        assert figure in result.stdout
    with av.open(str(video)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 8


def test_demo_uses_the_detector_where_there_is_one(server: str, clip: str, tmp_path: Path) -> None:
    video = str(tmp_path / "demo.mp4")
    on_scene = run("demo", "--server", server, "--frames", "3", "--render", video)
    assert on_scene.exit_code == 0
    assert "people found by rectangles" in on_scene.stderr
    on_clip = run("demo", clip, "--server", server, "--render", video, "--seconds", "0.2")
    assert on_clip.exit_code == 0
    assert "5 tracked" in on_clip.stdout
    assert "identity switches" not in on_clip.stdout  # there is no ground truth


def test_info_describes_a_server(server: str) -> None:
    result = run("info", "--server", server)
    assert result.exit_code == 0
    for fact in (server, "stand-in", "rectangles", "17 joints (coco17)", "queue_length"):
        assert fact in result.stdout
    assert run("info", "--server", "127.0.0.1:1").exit_code == 1
