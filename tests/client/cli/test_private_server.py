"""The private server's life cycle, with small programs instead of the real server."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from posewire.cli import private_server as module
from posewire.cli.failures import CommandError, UsageError
from posewire.cli.private_server import ServerChoice, private_server

OBEDIENT = """
    import os, sys
    flags = sys.argv[1:]
    port_file = flags[flags.index("--port-file") + 1]
    with open(os.environ["POSEWIRE_TEST_NOTES"], "w") as notes:
        notes.write(f"{os.getpid()} {' '.join(flags)}")
    with open(port_file + ".new", "w") as file:
        file.write("4711")
    os.replace(port_file + ".new", port_file)
    sys.stdin.buffer.read()
"""


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POSEWIRE_TEST_NOTES", str(tmp_path / "notes"))
    return tmp_path / "notes"


def pretend(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace `python -m posewire_server` by a program."""
    folder = tmp_path / "site" / "posewire_server"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "__main__.py").write_text(textwrap.dedent(program))
    monkeypatch.setenv("PYTHONPATH", str(folder.parent))


def has_ended(pid: int, within_s: float = 20.0) -> bool:
    """Whether a process ends, or becomes a zombie that nobody has waited for, within `within_s`."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_it_runs_for_the_length_of_the_block(notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(OBEDIENT, tmp_path, monkeypatch)
    (tmp_path / "posewire_server.py").write_text("raise SystemExit('a file of the working folder was run')")
    monkeypatch.chdir(tmp_path)
    with private_server(["--bundle", "some bundle"]) as address:
        assert address == "127.0.0.1:4711"
        pid, *flags = notes.read_text().split(" ", 1)
        os.kill(int(pid), 0)
    assert has_ended(int(pid))
    assert flags[0].endswith("--bundle some bundle")
    assert "--exit-on-stdin-eof" in flags[0]


def test_nobody_is_kept_out_by_settings_of_another_server(
    notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "environment"
    pretend(f"{OBEDIENT}\n    open({str(told)!r}, 'w').write(' '.join(os.environ))", tmp_path, monkeypatch)
    ours = {"POSEWIRE_SERVER_DEVICE", "POSEWIRE_SERVER_TRACKER_QUEUE_LENGTH"}
    others = {"POSEWIRE_CONFIG", *(f"POSEWIRE_SERVER_{name}" for name in ("SECURITY_TOKENS", "METRICS_PORT", "RECORD"))}
    for name in ours | others:
        monkeypatch.setenv(name, "1")
    with private_server():
        pass
    assert {name for name in told.read_text().split() if name.startswith("POSEWIRE_")} >= ours
    assert not others & set(told.read_text().split())


def test_it_ends_with_an_error_in_the_block_too(notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(OBEDIENT, tmp_path, monkeypatch)
    with pytest.raises(KeyboardInterrupt), private_server():
        raise KeyboardInterrupt
    assert has_ended(int(notes.read_text().split()[0]))


def test_it_ends_when_we_are_killed(notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(OBEDIENT, tmp_path, monkeypatch)
    script = (
        "import sys\nfrom posewire.cli.private_server import private_server\n"
        "with private_server():\n    print('up', flush=True)\n    sys.stdin.read()"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as ours:
        assert ours.stdout is not None
        assert ours.stdout.readline() == "up\n"
        server = int(notes.read_text().split()[0])
        ours.send_signal(signal.SIGKILL)
    assert has_ended(server)


@pytest.mark.parametrize(
    ("program", "said", "kind"),
    [
        # its own message, without the common prefix
        (
            "import sys\nsys.exit('posewire: the server cannot start: no such bundle; try nano')",
            "the private server did not start: no such bundle; try nano",
            CommandError,
        ),
        # an unexpected error: the end of the traceback
        ("raise RuntimeError('all is lost')", "all is lost", CommandError),
        ("import sys\nsys.exit(7)", "exit status 7", CommandError),
        # a wrong flag, which the command has passed on
        ("import sys\nprint('posewire: flow is x')\nsys.exit(2)", "did not start: flow is x", UsageError),
    ],
)
def test_why_it_did_not_start_is_said(
    program: str, said: str, kind: type[CommandError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(program, tmp_path, monkeypatch)
    with pytest.raises(CommandError) as failed, private_server():
        pass
    assert said in str(failed.value)
    assert type(failed.value) is kind


def test_a_missing_folder_for_temporary_files_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    says = r"temporary files \(No such file or directory\); set TMPDIR"
    with pytest.raises(CommandError, match=says), private_server():
        pass


def test_a_server_that_dies_on_the_way_is_said(notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(OBEDIENT, tmp_path, monkeypatch)

    def kill_it() -> None:
        with private_server():
            pid = int(notes.read_text().split()[0])
            os.kill(pid, signal.SIGKILL)
            assert has_ended(pid)

    with pytest.raises(CommandError, match=r"ended early \(exit status -9\)"):
        kill_it()


def test_a_stubborn_server_is_made_to_end(notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stubborn = (
        OBEDIENT + "\n    import signal, time\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    time.sleep(60)"
    )
    pretend(stubborn, tmp_path, monkeypatch)
    monkeypatch.setattr(module, "_STOP_TIMEOUT_S", 0.3)
    with private_server():
        pid = int(notes.read_text().split()[0])
    assert has_ended(pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_server_that_is_not_ready_is_not_waited_for(
    number: signal.Signals, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is loading its networks, and does not react meanwhile."""
    deaf = """
        import os, signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with open(os.environ["POSEWIRE_TEST_NOTES"] + ".new", "w") as notes:
            notes.write(str(os.getpid()))
        os.replace(os.environ["POSEWIRE_TEST_NOTES"] + ".new", os.environ["POSEWIRE_TEST_NOTES"])
        while True:
            signal.pause()
    """
    pretend(deaf, tmp_path, monkeypatch)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    script = (
        "from posewire.cli.failures import expected_failures\nfrom posewire.cli.private_server import private_server\n"
        "with expected_failures(), private_server(): print('ready')"
    )
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True) as ours:
        try:
            while not notes.exists():
                assert ours.poll() is None
            ours.send_signal(number)
            _, said = ours.communicate(timeout=module._STOP_TIMEOUT_S - 5)  # a ready one would be waited for longer
        finally:
            ours.kill()
    assert "posewire: interrupted" in said
    assert has_ended(int(notes.read_text()))
    assert os.listdir(tmp_path / "temporary") == []


def test_a_server_that_never_gets_ready_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend("import sys\nsys.stdin.buffer.read()", tmp_path, monkeypatch)
    monkeypatch.setattr(module, "_START_TIMEOUT_S", 0.2)
    with pytest.raises(CommandError, match="not ready"), private_server():
        pass


def test_a_named_server_is_used_as_it_is() -> None:
    with ServerChoice("example.org:1").running(quiet=True) as access:
        assert access.addresses == ("example.org:1",)
    with pytest.raises(UsageError, match="--detector, --flow, --flip-test would choose"):
        ServerChoice("example.org:1", detector="none", flow="dis", flip_test=False)


@pytest.mark.parametrize(
    ("choice", "flags"),
    [
        (ServerChoice(), []),
        (ServerChoice(bundle="nano", flip_test=True), ["--bundle", "nano", "--flip-test"]),
        (ServerChoice(flow="dis", flip_test=False), ["--flow", "dis", "--no-flip-test"]),
    ],
)
def test_a_private_server_gets_the_networks_that_were_chosen(
    choice: ServerChoice, flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    @contextlib.contextmanager
    def pretended(flags: list[str]) -> Iterator[str]:
        asked.append(flags)
        yield "here:1"

    monkeypatch.setattr(module, "private_server", pretended)
    with choice.running(quiet=True) as access:
        assert access.addresses == ("here:1",)
    assert asked == [flags]
