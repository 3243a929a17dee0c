"""Commands with a restrictive token: they do all their work, only more slowly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from typer.testing import CliRunner

from posewire.cli.application import app
from posewire_server.admission.tokens import TokenGrant, append_line, new_token
from posewire_server.config import SecurityConfig, ServerConfig
from tests.evaluation.people import as_2018, frame, pose, sequence, written
from tests.server.serving import serving
from tests.server.stand_ins import jpeg, networks, picture


@contextmanager
def allowing(tokens: Path, **limits: float) -> Iterator[list[str]]:
    """A server that requires a token with such limits; yields the flags to reach it."""
    token, line = new_token(TokenGrant("door", **limits))  # type: ignore[arg-type]  # each has its type
    append_line(tokens, line)
    (tokens.parent / "token").write_text(token)
    config = ServerConfig(port=0, security=SecurityConfig(tokens=tokens))
    with serving(networks(), config) as address:
        yield ["--server", address, "--token-file", str(tokens.parent / "token")]


def run(*arguments: object) -> Any:
    return CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, [str(each) for each in arguments])


def test_a_token_of_one_stream_tracks_a_whole_data_set(tmp_path: Path) -> None:
    names = [f"{number:06d}_walk" for number in range(5)]
    for name in names:
        (tmp_path / "videos" / name).mkdir(parents=True)
        for step in range(3):
            cv2.imwrite(str(tmp_path / "videos" / name / f"{step:06d}.png"), picture(step))
        written(tmp_path / "gt" / f"{name}.json", as_2018(sequence(*(frame(t, {1: pose(100)}) for t in range(3)))))
    folders = ["--videos", tmp_path / "videos", "--gt", tmp_path / "gt", "--out", tmp_path / "dt"]
    with allowing(tmp_path / "tokens", streams=1) as access:
        result = run("run-dataset", *folders, *access, "--parallel", 4)
    assert result.exit_code == 0, result.stderr
    assert "5 sequences tracked, 15 frames" in result.stderr
    assert result.stderr.count("going on with fewer at a time") == 1
    assert sorted(file.stem for file in (tmp_path / "dt").glob("0*.json")) == names


def test_a_token_of_few_frames_a_second_gets_all_poses(tmp_path: Path) -> None:
    folder, out = tmp_path / "pictures", tmp_path / "dt.json"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.jpg").write_bytes(jpeg(picture(number)))
    with allowing(tmp_path / "tokens", fps=8) as access:
        result = run("poses", folder, "--out", out, *access)
    assert result.exit_code == 0, result.stderr
    assert "12 pictures, 24 people" in result.stderr
    assert [entry["image_id"] for entry in json.loads(out.read_text())] == sorted([*range(12)] * 2)


def test_boxes_of_one_picture_are_asked_for_as_the_token_allows(tmp_path: Path) -> None:
    """With more requests than are allowed per second, the answers so far are kept."""
    folder, out, truth = tmp_path / "pictures", tmp_path / "dt.json", tmp_path / "gt.json"
    folder.mkdir()
    (folder / "one.jpg").write_bytes(jpeg(picture()))
    boxes = [[10.0 + row, 60.0, 40.0, 120.0] for row in range(250)]
    annotations = [{"image_id": 8, "bbox": box} for box in boxes]
    truth.write_text(json.dumps({"images": [{"id": 8, "file_name": "one.jpg"}], "annotations": annotations}))
    with allowing(tmp_path / "tokens", fps=2) as access:
        result = run("poses", folder, "--boxes", truth, "--out", out, *access)
    assert result.exit_code == 0, result.stderr
    np.testing.assert_allclose([entry["bbox"] for entry in json.loads(out.read_text())], boxes, atol=0.01)
