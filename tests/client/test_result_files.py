"""Targets of result files: links, pipes, devices and open descriptors are not replaced."""

from __future__ import annotations

import errno
import json
import os
import resource
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from posewire import (
    COCO17,
    CocoResultsWriter,
    FrameResult,
    JsonLinesWriter,
    OutputError,
    Person,
    PoseTrackWriter,
    StreamInfo,
    StreamSettings,
    VideoWriter,
)
from posewire.output_files import write_json
from posewire.writers import ResultWriter

PICTURE = np.zeros((48, 64, 3), np.uint8)

MAKERS: list[Callable[[Path], ResultWriter]] = [
    lambda path: JsonLinesWriter(path, StreamInfo("s1", COCO17, StreamSettings())),
    lambda path: CocoResultsWriter(path, COCO17),
    lambda path: PoseTrackWriter(path, COCO17),
    lambda path: VideoWriter(path, COCO17, fps=10),
]
each_writer = pytest.mark.parametrize("make", MAKERS, ids=["jsonl", "coco", "posetrack", "video"])


def write_one_frame(make: Callable[[Path], ResultWriter], path: Path) -> None:
    with make(path) as writer:
        writer.write(FrameResult(0, 0.0, people=(), size=(64, 48), image=PICTURE))


@contextmanager
def read_from(pipe: Path) -> Iterator[list[bytes]]:
    """Keep a pipe open for reading during the block; afterwards, the list contains what was received."""
    came: list[bytes] = []
    # No write blocks: the results are smaller than a pipe's buffer.
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield came
        came.append(os.read(descriptor, 65_536))
    finally:
        os.close(descriptor)


@each_writer
def test_a_pipe_is_written_to_and_stays(make: Any, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mkv"
    os.mkfifo(pipe)
    with read_from(pipe) as came:
        write_one_frame(make, pipe)
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert came[0]
    assert os.listdir(tmp_path) == ["pipe.mkv"]


def test_two_do_not_write_each_other_s_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("old and longer than nothing")
    with MAKERS[0](path) as writer:
        with pytest.raises(OutputError, match=r"a\.jsonl .* a writer of this program or of another has it open; close"):
            MAKERS[0](path)
        writer.write(FrameResult(0, 0.0, people=(), size=(64, 48)))
    assert [next(iter(json.loads(line))) for line in path.read_text().splitlines()] == ["joints", "frame"]
    write_one_frame(MAKERS[0], path)  # now it may


def test_nobody_reads_a_pipe_any_more(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    with read_from(pipe):
        writer = MAKERS[0](pipe)
    with pytest.raises(OutputError, match=r"pipe\.jsonl cannot be written: nobody reads it any more$"):
        writer.write(FrameResult(0, 0.0, people=(), size=(64, 48)))
    writer.discard()


def test_what_comes_out_of_a_pipe_is_the_whole_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    with read_from(pipe) as came:
        write_json(pipe, {"a": 1})
    assert json.loads(came[0]) == {"a": 1}


@pytest.mark.parametrize(
    "name",
    [
        "a" * 250 + ".json",  # 255 bytes, which is what file systems allow
        "人" * 83 + ".json",  # 254 bytes
        "a." + "b" * 253,  # a dot that ends no stem
    ],
)
def test_a_name_may_be_as_long_as_the_system_allows(name: str, tmp_path: Path) -> None:
    write_json(tmp_path / name, [1])
    assert os.listdir(tmp_path) == [name]


def test_a_file_in_a_closed_folder_is_written_to_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = os.open

    def refuse(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_EXCL and Path(path).parent == tmp_path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return make(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OutputError, match=r"new.json cannot be written: Permission denied"):
        write_json(tmp_path / "new.json", [1])
    (tmp_path / "old.json").write_text("old and longer")
    write_json(tmp_path / "old.json", [1])
    assert (tmp_path / "old.json").read_text() == "[1]"


def test_a_file_that_is_a_mount_is_written_to_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(one: Path, other: Path) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(Path, "replace", busy)
    (tmp_path / "mount.json").write_text("old and longer")
    write_json(tmp_path / "mount.json", [1])
    assert (tmp_path / "mount.json").read_text() == "[1]"
    assert os.listdir(tmp_path) == ["mount.json"]


@pytest.fixture
def _little_room() -> Iterator[None]:
    """As on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("_little_room")
@each_writer
def test_a_disk_that_is_full_is_told_with_the_name_of_the_file(make: Any, tmp_path: Path) -> None:
    path = tmp_path / "file.mkv"
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    people = [Person(1, 1.0, np.zeros(4, np.float32), np.ones((17, 3), np.float32), "detector")]

    def write() -> None:
        with make(path) as writer:
            for number in range(20):
                writer.write(FrameResult(number, number / 10, people=people, size=(64, 48), image=noise))

    with pytest.raises(OutputError) as failed:
        write()
    assert str(failed.value).startswith(f"{path} cannot be written: File too large; check the folder")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a device")
def test_a_device_stays_a_device(tmp_path: Path) -> None:
    device = tmp_path / "device"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))  # one like /dev/null
        device.write_bytes(b"")
    except PermissionError:
        pytest.skip("no devices here")
    write_json(device, [1])
    assert stat.S_ISCHR(device.lstat().st_mode)


@each_writer
@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_its_target_is_written(there: bool, make: Any, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "target.mkv", tmp_path / "link.mkv"
    if there:
        target.write_text("old")
    link.symlink_to(Path("elsewhere") / "target.mkv")
    write_one_frame(make, link)
    assert link.is_symlink()
    assert target.read_bytes() not in (b"", b"old")
    assert os.listdir(tmp_path / "elsewhere") == ["target.mkv"]


def test_the_old_target_of_a_link_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to(target)
    with pytest.raises(ValueError, match="Out of range"):
        write_json(link, float("nan"))
    assert target.read_text() == "old"


@pytest.mark.parametrize("make", MAKERS[:-1], ids=["jsonl", "coco", "posetrack"])
def test_an_open_descriptor_is_gone_on_with(make: Any, tmp_path: Path) -> None:
    """Like standard output if the shell appends to a file: `--out /dev/stdout >> log`."""
    log = tmp_path / "log"
    log.write_bytes(b"before|")
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    link = Path(f"/proc/self/fd/{descriptor}")
    write_one_frame(make, link)
    os.write(descriptor, b"|after")
    os.close(descriptor)
    content = log.read_bytes()
    assert content.startswith((b"before|{", b"before|["))
    assert content.endswith(b"|after")


def test_a_video_in_a_pipe_can_be_played(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    with read_from(pipe) as came:
        write_one_frame(MAKERS[-1], pipe)
    (tmp_path / "copy.mp4").write_bytes(came[0])
    with av.open(str(tmp_path / "copy.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 1


def test_a_folder_is_no_place_for_a_result(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="directory"):
        CocoResultsWriter(tmp_path, COCO17)
