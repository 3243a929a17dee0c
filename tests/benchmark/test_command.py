from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from posewire.cli.access import ServerAccess
from posewire_benchmark.__main__ import app
from posewire_benchmark.access import access_fields, access_from
from posewire_benchmark.command_line import show
from posewire_benchmark.load import overload as overload_module
from posewire_benchmark.load.capacity import CapacityOptions, seek_capacity
from posewire_benchmark.load.flag_rules import check_flags
from posewire_benchmark.load.options import BoxesFrom, LoadOptions
from posewire_benchmark.load.overload import OverloadOptions, run_overload
from posewire_benchmark.load.records import Outcome
from posewire_benchmark.load.result import LoadResult
from posewire_benchmark.load.scaling import ScalingOptions, run_scaling
from posewire_benchmark.load.summary import summarise
from posewire_benchmark.private_server import environment_of
from posewire_benchmark.suite import CPU_SUITE, Step, run_suite, tables_of
from posewire_benchmark.tables import TABLES
from posewire_server.config import BatchingConfig, LimitsConfig, ServerConfig, StageBatchingConfig
from posewire_server.configuration import load_config
from tests.benchmark.simulated import SimulatedRig


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        # without a sub-command it is the service that is measured
        ("--frames 1", "frames is 1; it must lie in 20..100000"),
        ("service --frames 1", "frames is 1; it must lie in 20..100000"),
        ("load --streams 0", "streams is 0; it must lie in 1..5000"),
        ("load --find-max --overload", "ask one at a time"),
        ("load --inject", "without --detector, --inject would have no effect"),
        ("load --inject --detector none", "without --detector, --inject would have no effect"),
        ("load --detect-every 5 --max-detect-every 9", "--detect-every, --max-detect-every would have no effect"),
        ("load --latency-bound-ms 1 --percentile 7", "without --find-max, --latency-bound-ms, --percentile would"),
        ("load --overload --most-lost 0", "without --find-max, --most-lost would"),
        ("load --overload --rounds 3", "without --hostile or --scaling, --rounds would"),
        ("load --tls --insecure --ca here", "without --server, --tls, --ca, --insecure would"),
        ("load --server here:1 --detector auto --inject", "--inject would configure a private server"),
        ("load --server here:1 --random-weights", "--random-weights would configure a private server"),
        ("load --server here:1 --without-networks", "--without-networks would configure a private server"),
        ("load --server here:1 --servers 2", "--servers would configure a private server"),
        ("load --without-networks --detector auto --threads 1", "--detector, --threads would configure networks"),
        ("load --servers 2 --hostile flood", "leave --servers or --hostile out"),
        ("load --servers 0", "servers is 0; it must lie in 1..64"),
        ("load --find-max --streams 300", "streams is 300; it must lie in 1..256"),
        (
            "load --server here:1 --bundle paper-r50 --threads 2",
            "--bundle, --threads would configure a private server",
        ),
        # also if they say what is the default
        ("load --server here:1 --bundle nano --flow auto --threads 0", "--bundle, --flow, --threads would configure"),
        ("load --metrics-url http://here", "without --server, --metrics-url would"),
        # a number that makes no sense as well, and that of a default
        ("load --overload --seconds 0.5", "seconds is 0.5; it must lie in 1.0..86400.0"),
        ("load --scaling", "give --streams 2 or more"),
        ("load --overload --drop-policy all", "use the drop policy latest"),
        ("roofline --batches few", "'few' are not batch sizes"),
        ("roofline --runtimes --device cuda:3 --bundle nobody", "in float32: --device would have no effect"),
        (
            "roofline --runtimes --runtime torch --precision float16 --bundle nobody",
            "--runtime, --precision would have no effect",
        ),
        ("all --only nothing", "unknown benchmark nothing"),
        ("load --fps 0", "fps is 0.0; it must lie in 0.1..10000.0"),
        ("load --size 0x0", "width is 0; it must lie in 64..4096"),
        ("load --people -1", "people is -1; it must lie in 1..40"),
        ("load --threads -1", "threads is -1"),
        ("load --find-max --percentile 97", "percentile is 97; it is one of 50, 95, 99, 100"),
        ("load --hostile flood --rounds 0", "rounds is 0; it must lie in 1..100"),
        ("roofline --batches 1,99", "batches are (1, 99)"),
        ("roofline --runtimes --threads -1", "threads is -1"),
    ],
)
def test_a_wrong_flag_is_one_line(arguments: str, message: str) -> None:
    check_mistake(arguments, 2, message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("roofline --bundle nobody", "unknown bundle 'nobody'"),
        # before minutes of measuring
        ("service --json /not/here/f.json", "the folder /not/here does not exist; make it first"),
        ("roofline --json /", "/ cannot be written: it is a folder"),
        ("load --json /not/here/f.json --streams 0", "the folder /not/here does not exist; make it first"),
    ],
)
def test_what_cannot_be_used_is_one_line(arguments: str, message: str) -> None:
    check_mistake(arguments, 1, message)


def check_mistake(arguments: str, status: int, message: str) -> None:
    result = CliRunner().invoke(app, arguments.split())
    assert result.exit_code == status
    assert message in result.output
    assert "Traceback" not in result.output
    assert len(re.findall("^posewire: ", result.output, re.MULTILINE)) == 1


@pytest.mark.parametrize(
    ("arguments", "choices"),
    [
        ("nothing", ("No such command 'nothing'",)),
        ("load --codec vp9", ("jpeg", "h264")),
        ("load --hostile nobody", ("garbage", "flood", "stall", "reconnect")),
        ("load --size 4²x3", ("'4²x3' is not a size", "640x480")),
        ("service --size 12", ("'12' is not a size", "640x480")),
    ],
)
def test_an_unknown_choice_is_told_with_the_known_ones(arguments: str, choices: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, arguments.split())
    assert result.exit_code == 2
    assert all(choice in result.output for choice in choices)


def test_no_flag_is_left_out_where_they_are_checked() -> None:
    with pytest.raises(KeyError):
        check_flags({"find_max": True, "server": "here:1"})


def test_a_token_of_the_environment_is_no_mistake_without_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSEWIRE_TOKEN", "secret")
    result = CliRunner().invoke(app, ["load", "--streams", "0"])
    assert "streams is 0" in result.output


TINY = LoadOptions(streams=2, fps=10.0, seconds=1.0, warm_up_s=0.0)


async def nothing_tracked() -> LoadResult:
    measured = await SimulatedRig(TINY, 0.01).record()
    measured.records["outcome"] = Outcome.FAILED
    return summarise(measured)


@pytest.mark.parametrize(
    ("flags", "where", "answer", "why"),
    [
        ("", "rig.measure_load", lambda: SimulatedRig(TINY, 0.01).measure(), ""),
        ("", "rig.measure_load", lambda: SimulatedRig(TINY, 0.01, broken=[1]).measure(), "1 stream ended early"),
        ("", "rig.measure_load", nothing_tracked, "not one frame was tracked"),
        (
            "--overload",
            "overload.measure_overload",
            lambda: run_overload(SimulatedRig(TINY, 0.02, delay_s=0.3), OverloadOptions(load=TINY, seconds=4.0)),  # type: ignore[arg-type]
            "ms old at worst",
        ),
        (
            "--scaling",
            "scaling.measure_scaling",
            lambda: run_scaling(SimulatedRig(TINY, 0.02), ScalingOptions(load=TINY, rounds=1)),  # type: ignore[arg-type]
            "no valid round; 1 stream had nearly all frames answered",
        ),
        (
            "--find-max",
            "capacity.find_capacity",
            lambda: seek_capacity(CapacityOptions(load=TINY), lambda streams: nothing_tracked()),
            "not one frame was tracked",
        ),
    ],
)
def test_figures_that_do_not_hold_are_no_success(
    flags: str,
    where: str,
    answer: Callable[[], Coroutine[Any, Any, Any]],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    report = asyncio.run(answer())
    monkeypatch.setattr(f"posewire_benchmark.load.{where}", lambda options: report)
    file = tmp_path / "figures.json"
    result = CliRunner().invoke(app, ["load", "--streams", "2", "--json", str(file), *flags.split()])
    figures = json.loads(file.read_text())
    assert figures["holds" if flags == "--overload" else "valid"] is not bool(why)
    assert result.exit_code == (1 if why else 0)
    assert ("posewire: the figures do not hold: " in result.stderr) is bool(why)
    assert why in result.stderr


@pytest.mark.parametrize(("flags", "seconds"), [("", 30.0), ("--seconds 5", 5.0)])
def test_an_overload_lasts_as_long_as_it_is_told(flags: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[OverloadOptions] = []

    def measure(options: OverloadOptions) -> None:
        asked.append(options)
        raise RuntimeError("seen")

    monkeypatch.setattr(overload_module, "measure_overload", measure)
    CliRunner().invoke(app, ["load", "--overload", *flags.split()])
    assert [each.seconds for each in asked] == [seconds]


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = CliRunner().invoke(app, ["all", "--out", str(tmp_path / "file" / "out")])
    assert result.exit_code == 1
    assert "file/out cannot be made or written to: Not a directory" in result.output


def test_help_lists_the_benchmarks() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    for command in ("service", "load", "roofline", "all"):
        assert command in result.output


def test_how_long_all_of_them_take_is_told_as_in_the_documentation() -> None:
    page = Path(__file__).parents[2] / "docs" / "benchmarks.md"
    for text in (CliRunner().invoke(app, ["all", "--help"]).output, page.read_text(encoding="utf-8")):
        assert "about twelve minutes" in " ".join(text.split())


def test_the_suite_has_a_table_for_each_of_its_commands() -> None:
    assert len({step.name for step in CPU_SUITE}) == len(CPU_SUITE)
    for step in CPU_SUITE:
        assert step.kind in TABLES
        command = step.arguments.split()[0]
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0


def test_a_benchmark_that_fails_is_named_and_its_old_figures_go(tmp_path: Path) -> None:
    for name in ("bad.json", "tables.md"):
        (tmp_path / name).write_text("{}")
    assert run_suite((Step("bad", "Bad", "load", "load --streams 0"),), tmp_path) == ["bad"]
    assert list(tmp_path.iterdir()) == []


def test_a_suite_that_is_interrupted_ends_its_benchmark_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    begun: list[subprocess.Popen[bytes]] = []

    class Endless(subprocess.Popen[bytes]):
        def __init__(self, command: list[str], **options: Any) -> None:
            super().__init__(["sleep", "60"], **options)
            begun.append(self)

        def wait(self, timeout: float | None = None) -> int:
            if timeout is None:
                raise KeyboardInterrupt
            return super().wait(timeout)

    monkeypatch.setattr(subprocess, "Popen", Endless)
    with pytest.raises(KeyboardInterrupt):
        run_suite((Step("long", "Long", "load", "load"),), tmp_path)
    assert [each.returncode for each in begun] == [-signal.SIGTERM]


def test_figures_stand_below_their_command(tmp_path: Path) -> None:
    machine = {"date": "2026-01-01", "processor": "any", "cores": 2, "device": "cpu", "python": "3.11", "posewire": "0"}
    row = {"network": "pose", "batch": 1, "ms": {"torch": 2.5, "openvino": 1.25}, "fastest": "openvino"}
    figures = {"machine": machine | {"load": 0.1}, "threads": 2, "times": [row]}
    (tmp_path / "there.json").write_text(json.dumps(figures))
    steps = (
        Step("there", "There", "runtimes", "roofline --runtimes"),
        Step("missing", "Missing", "load", "load"),
    )
    tables = tables_of(steps, tmp_path)
    assert tables.startswith("## There\n\n`posewire bench roofline --runtimes`\n\n2026-01-01, any, 2 cores, cpu,")
    assert "| pose | 1 | 2.50 | 1.25 | openvino |" in tables
    assert "Missing" not in tables


def test_figures_are_kept_though_nobody_reads_what_is_printed(tmp_path: Path) -> None:
    class Figures:
        def as_text(self) -> str:
            raise BrokenPipeError

        def as_json(self) -> dict[str, Any]:
            return {"ms": 1}

    with pytest.raises(BrokenPipeError):
        show(Figures(), tmp_path / "figures.json")
    assert json.loads((tmp_path / "figures.json").read_text()) == {"ms": 1}


def test_settings_of_a_private_server_survive_their_way() -> None:
    config = ServerConfig(
        bundle="paper-r50",
        resume_key=Path("key"),
        exit_on_stdin_eof=True,
        limits=LimitsConfig(max_streams=7),
        batching=BatchingConfig(pose=StageBatchingConfig(max_batch=9)),
    )
    variables = environment_of(config)
    assert variables == {
        "POSEWIRE_SERVER_BUNDLE": "paper-r50",
        "POSEWIRE_SERVER_RESUME_KEY": "key",
        "POSEWIRE_SERVER_EXIT_ON_STDIN_EOF": "True",
        "POSEWIRE_SERVER_LIMITS_MAX_STREAMS": "7",
        "POSEWIRE_SERVER_BATCHING_POSE_MAX_BATCH": "9",
    }
    assert load_config(environment=variables) == config


def test_how_a_server_is_reached_survives_its_way_too() -> None:
    access = ServerAccess(("a:1", "b:2"), ca=Path("ca.pem"), token="secret", insecure=True)
    assert access_from(json.loads(json.dumps(access_fields(access)))) == access


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"fps": float("nan")}, "fps is nan"),
        ({"seconds": 0}, "seconds is 0"),
        ({"boxes": BoxesFrom.DETECTOR}, "detector is none"),
        ({"boxes": BoxesFrom.INJECTED, "server": ServerAccess(("a:1",))}, "private server only"),
    ],
)
def test_loads_that_make_no_sense(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LoadOptions(**setting)  # type: ignore[arg-type]


def test_generators_grow_with_the_load() -> None:
    assert LoadOptions().generators_for(1, 30.0) == 1
    assert LoadOptions().generators_for(100, 30.0) == 8
    assert LoadOptions().generators_for(2, 5000.0) == 2  # a stream is sent by one of them
    assert LoadOptions(generators=3).generators_for(100, 30.0) == 3
