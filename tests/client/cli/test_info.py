"""`posewire info`."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from typer.testing import CliRunner

from posewire import COCO17, ServerInfo, TrackerSettings
from posewire._channels import addresses
from posewire.cli import info
from posewire.cli.application import app
from posewire.results import ModelNames, ServerLimits


def test_a_server_in_words_and_numbers() -> None:
    server = ServerInfo(
        version="9.9",
        device="cpu",
        models=ModelNames(bundle="mine", detector="", flow="still", pose="grid", bundle_version=3, flip_test=True),
        joint_set=COCO17,
        joint_sets=("coco17", "posetrack15"),
        codecs=("jpeg", "raw"),
        limits=ServerLimits(
            max_frame_bytes=16 * 2**20, max_frame_pixels=2_560_000, max_streams=7, max_people=40, max_pictures=1
        ),
        tracker_defaults=TrackerSettings(queue_length=10, match_threshold=1 / 3, propagation=False),
        active_streams=3,
        has_detector=False,
    )
    console = Console(width=200, file=io.StringIO())
    console.print(info._described(server, "host:1"))
    lines = [" ".join(line.split()) for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]  # a StringIO
    assert lines == [
        "server host:1, version 9.9, 3 open streams",
        "device cpu",
        "bundle mine, version 3",
        "detector none: send boxes with each frame",
        "flow still",
        "pose grid, 17 joints (coco17), flip test",
        "joint sets coco17, posetrack15",
        "codecs jpeg, raw",
        "limits 7 streams and 1 picture at a time",
        "40 people, 2.6 megapixels, 16 MiB a frame",
        "tracker propagation False, queue_length 10, match_threshold 0.333",
    ]


def test_without_an_address_it_is_no_failure_that_nobody_serves_here(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "DEFAULT_PORT", unused_tcp_port)
    missing = ("torch", "prometheus_client")
    monkeypatch.setattr(info, "find_spec", lambda package: None if package in missing else "a spec")
    done = CliRunner().invoke(app, ["info"])
    assert done.exit_code == 0, done.output
    assert f"no server at 127.0.0.1:{unused_tcp_port}; start one with `posewire serve`" in done.stderr
    assert "not installed (torch, prometheus_client missing): pip install 'posewire[server]'" in done.stdout
