"""`posewire token`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from posewire.cli.application import app
from posewire.cli.failures import CommandError
from posewire.cli.token import TokenJob, run_token
from posewire_server.admission.tokens import TokenFile


def test_the_token_is_good_for_the_line_that_is_printed(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["token", "door", "--streams", "2", "--fps", "30", "--admin"])
    assert result.exit_code == 0
    token = result.stdout.strip()
    line = result.stderr.splitlines()[-1]
    assert token not in line
    file = tmp_path / "tokens"
    file.write_text(line)
    grant = TokenFile(file).caller_of(f"Bearer {token}").grant
    assert (grant.name, grant.streams, grant.fps, grant.pixels, grant.admin) == ("door", 2, 30, 0, True)


def test_the_line_can_go_straight_into_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    for name in ("door", "yard"):
        result = CliRunner().invoke(app, ["token", name, "--append-to", str(file)])
        assert result.exit_code == 0
        assert TokenFile(file).caller_of(f"Bearer {result.stdout.strip()}").name == name
        assert result.stdout.strip() not in file.read_text()


def test_a_token_that_nobody_saw_is_said_to_be_lost(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "posewire", "token", "door"]
    file = tmp_path / "tokens"
    with open("/dev/full", "w") as full:
        for flags, says in ([], "is lost"), (["--append-to", str(file)], f"remove the line of 'door' from {file}"):
            finished = subprocess.run([*command, *flags], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
            assert finished.returncode != 0
            assert says in finished.stderr
            assert "Line for" not in finished.stderr
            assert "was added" not in finished.stderr


def test_no_token_is_made_where_it_could_not_be_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)  # as `>&-` leaves it
    with pytest.raises(CommandError, match="standard output is closed"):
        run_token(TokenJob("door", append_to=tmp_path / "tokens"))
    assert not (tmp_path / "tokens").exists()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["a:b"], "use 1 to 64 letters"),
        (["door", "--fps", "inf"], "fps is inf"),
        (["door", "--pixels", "720"], "pixels is 720; it must lie in 1024.."),  # meant as the height
        (["door", "--append-to", "nowhere/tokens"], "nowhere does not exist; make it first"),
        (["door", "--append-to", "/dev/null"], "/dev/null is a device or pipe; name a token file"),
    ],
)
def test_what_cannot_be_done(flags: list[str], says: str) -> None:
    result = CliRunner().invoke(app, ["token", *flags])
    assert result.exit_code != 0
    assert says in result.stderr
    assert result.stdout == ""
