from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from posewire.cli.access import ServerAccess
from posewire_benchmark.access import access_fields
from posewire_benchmark.load.generator import GeneratorPlan


@pytest.mark.parametrize(
    ("from_file", "says"),
    [
        # the pipe stays open, and says no time
        (False, "could not convert string to float"),
        # nothing that could be listened to
        (True, "Pipe transport is"),
    ],
)
async def test_a_generator_that_cannot_be_told_when_to_start_says_so(
    from_file: bool, says: str, tmp_path: Path
) -> None:
    plan = GeneratorPlan(
        accesses=[access_fields(ServerAccess(("nowhere:1",)))],
        footage=[],
        streams=[],
        of=1,
        fps=20.0,
        send_s=3600.0,
        counted_s=(0.0, 3600.0),
        patience_s=10.0,
        first_request="",
        with_boxes=True,
        records=str(tmp_path / "records.npy"),
    )
    line = json.dumps(dataclasses.asdict(plan)).encode() + b"\n"
    (tmp_path / "plan").write_bytes(line)
    with (tmp_path / "plan").open("rb") as file:
        given: IO[bytes] | int = file if from_file else subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "posewire_benchmark.load.generator"), stdin=given, stdout=subprocess.PIPE
        )
    try:
        async with asyncio.timeout(30):
            assert process.stdout is not None
            if process.stdin is not None:
                process.stdin.write(line)
            told = await process.stdout.readline()
            if process.stdin is not None:
                assert told == b"ready\n"
                process.stdin.write(b"now\n")
            told += await process.stdout.read()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert says in json.loads(told.splitlines()[-1])["error"]
