"""JSON lines: a header, then one object per frame, each flushed as soon as it is written."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from posewire._inputs import capture_time, check_finite
from posewire.output_files import ResultWriter, open_for_writing, output_error
from posewire.results import FrameResult, Person, StreamInfo
from posewire.settings import StreamSettings

__all__ = ["JsonLinesWriter"]


class JsonLinesWriter(ResultWriter):
    """Results as JSON lines. Each line is flushed, so that the file can be followed and survives a crash.

    The first line is a header: `joints` (names), `joint_set`, `skeleton` (pairs of indices), `source`, `settings`,
    `models`. Then one object per frame: `frame`, `time_s`, `people` [{`id`, `score`, `box` [x, y, w, h], `joints`
    [[x, y, score]...], `source`}], `timings_ms`. A frame without a result has no people and no timings, and says why:
    `status` (`failed`, `dropped`), `reason`, `message`. Pictures of a folder have their `name`. The first tracked frame
    after a lost connection has `reconnected` {`address`, `ids_go_on`, `refusal`}; if ids do not go on, they start at 1
    again.

        with client.track("walk.mp4") as stream, JsonLinesWriter("walk.jsonl", stream.info, "walk.mp4") as writer:
            for result in stream:
                writer.write(result)

    Args:
        path: the file; an existing one is overwritten.
        info: of the stream.
        source: the name of the source, for the header.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: str | Path, info: StreamInfo, source: str = ""):
        super().__init__()
        self._path = Path(path)
        try:
            self._file: TextIO = io.TextIOWrapper(open_for_writing(self._path), encoding="utf-8")
        except OSError as error:
            raise output_error(self._path, error) from error
        self._put(
            {
                "joints": list(info.joint_set.names),
                "joint_set": info.joint_set.name,
                "skeleton": [list(edge) for edge in info.joint_set.edges],
                "source": source,
                "settings": _settings_object(info.settings),
                "models": asdict(info.models),
            }
        )

    def write(self, result: FrameResult) -> None:
        """Add the line of one frame.

        Raises:
            InvalidSettings: its time is not a number of seconds that a timestamp can hold, or somebody has values that
                are not finite.
            OutputError: it cannot be written.
        """
        self._check_open()
        check_finite(result.people)
        line: dict[str, Any] = {"frame": result.frame, "time_s": round(capture_time(result.time_s), 6)}
        if not result.tracked:
            line |= {"status": str(result.status), "reason": result.reason, "message": result.message}
        if result.name:
            line["name"] = result.name
        if (news := result.reconnected) is not None:
            line["reconnected"] = {"address": news.address, "ids_go_on": news.resumed, "refusal": news.refusal}
        line["people"] = [_person_object(person) for person in result.people]
        if result.tracked:
            line["timings_ms"] = {stage: round(value, 3) for stage, value in result.timings_ms.items()}
        self._put(line)

    def _put(self, content: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(content, separators=(",", ":"), allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise output_error(self._path, error) from error

    def _finish(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            raise output_error(self._path, error) from error

    def _give_up(self) -> None:
        """Keep what was written: every line is complete, except one for which the disk had no room."""
        with contextlib.suppress(OSError):  # a line that could not be written, which was reported before
            self._file.close()


def _person_object(person: Person) -> dict[str, Any]:
    return {
        "id": person.id,
        "score": round(person.score, 4),
        "box": [round(value, 2) for value in person.box.tolist()],
        "joints": [[round(x, 2), round(y, 2), round(score, 4)] for x, y, score in person.joints.tolist()],
        "source": person.source,
    }


def _settings_object(settings: StreamSettings) -> dict[str, Any]:
    """The effective settings, with those of the tracker on the same level; settings without a value are left out."""
    flat = asdict(settings)
    flat |= flat.pop("tracker")
    return {name: value for name, value in flat.items() if value is not None and value != ""}
