"""What `posewire poses` sends of a file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from posewire.cli.application import app
from posewire.cli.poses import PosesJob, _content
from posewire.cli.private_server import ServerChoice
from tests.server.stand_ins import jpeg, picture, png


@pytest.mark.parametrize(
    ("flags", "environment", "choice"),
    [
        ([], {}, ServerChoice(detector="bundle", flow="none", flip_test=True)),
        (["--flip-test"], {}, ServerChoice(detector="bundle", flow="none", flip_test=True)),
        (["--no-flip-test"], {}, ServerChoice(detector="bundle", flow="none", flip_test=False)),
        (["--detector", "auto"], {}, ServerChoice(detector="auto", flow="none", flip_test=True)),
        ([], {"POSEWIRE_SERVER_DETECTOR": "onnx:mine.onnx"}, ServerChoice(flow="none", flip_test=True)),
        (["--server", "here:1"], {}, ServerChoice("here:1")),
    ],
)
def test_a_private_server_is_accurate_and_runs_only_what_is_needed(
    flags: list[str], environment: dict[str, str], choice: ServerChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[PosesJob] = []
    monkeypatch.setattr("posewire.cli.poses.run_poses", jobs.append)
    done = CliRunner().invoke(app, ["poses", "pictures", "--out", "dt.json", *flags], env=environment)
    assert done.exit_code == 0, done.output
    assert jobs == [PosesJob(Path("pictures"), Path("dt.json"), choice)]


@pytest.mark.parametrize("name", ["1.jpg", "1.png", "1.bmp"])
def test_jpeg_and_png_go_as_they_are_whatever_their_name(name: str, tmp_path: Path) -> None:
    for data in (jpeg(picture()), png(picture())):
        (tmp_path / name).write_bytes(data)
        assert _content(tmp_path / name) == data


@pytest.mark.parametrize("kind", [".webp", ".bmp", ".tiff", ".ppm"])
@pytest.mark.parametrize("name", ["1.jpg", "1.jpeg", "1.png"])
def test_other_formats_are_read_whatever_their_name(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once each."""
    lossless = [cv2.IMWRITE_WEBP_QUALITY, 101] if kind == ".webp" else []
    _, coded = cv2.imencode(kind, picture()[..., ::-1], lossless)
    (tmp_path / name).write_bytes(coded.tobytes())
    reads: list[Path] = []
    monkeypatch.setattr(Path, "read_bytes", lambda path: reads.append(path) or coded.tobytes())
    content = _content(tmp_path / name)
    assert len(reads) == 1
    assert isinstance(content, np.ndarray)
    np.testing.assert_array_equal(content, picture())


@pytest.mark.parametrize(("data", "said"), [(b"", "empty"), (b"no picture", "not a picture")])
def test_what_is_no_picture_is_said(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(data)
    with pytest.raises(OSError, match=said):
        _content(tmp_path / "1.jpg")
