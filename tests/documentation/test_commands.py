"""docs/cli.md lists every command, and the help of every flag stands by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

from posewire.cli.application import app

GUIDE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
# Programs that `posewire` hands the rest of its command line to, and those that are modules of their own.
PROGRAMS = {
    "posewire": "posewire.cli.application",
    "posewire serve": "posewire_server.__main__",
    "posewire bench": "posewire_benchmark.__main__",
    "posewire ablate": "posewire.cli.ablate",
    "posewire tune": "posewire.cli.tune",
    "posewire_benchmark.gpu_check": "posewire_benchmark.gpu_check.__main__",
}


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """A command and those below it, by their full names."""
    yield name, command
    for each, below in getattr(command, "commands", {}).items():
        yield from _commands(below, f"{name} {each}")


def _parameters(program: str) -> Iterator[tuple[str, str]]:
    """The help of every parameter, by command and flag."""
    root = typer.main.get_command(import_module(PROGRAMS[program]).app)
    for name, command in _commands(root, program):
        for parameter in command.params:
            if parameter.name not in ("help", "context"):
                yield f"{name} {parameter.opts[0]}", parameter.help or ""


def test_the_guide_lists_every_command() -> None:
    (rows,) = re.findall(r"\| command \| what it does \| needs \|\n\|-\|-\|-\|\n(.*?)\n\n", GUIDE, re.DOTALL)
    listed = set()
    for row in rows.splitlines():
        group = ""
        for code in re.findall(r"`([^`]+)`", row.split("|")[1]):
            words = [word for word in code.split() if word.islower() and word != "posewire"]
            if len(words) == 2:
                group = words[0]
            listed.add(" ".join(words) if len(words) == 2 or not group else f"{group} {words[0]}")
    commands = {
        name.removeprefix("posewire ")
        for name, command in _commands(typer.main.get_command(app), "posewire")
        if not getattr(command, "commands", {})
    }
    assert listed == commands


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_help_of_a_flag_stands_by_itself(program: str) -> None:
    for flag, text in _parameters(program):
        assert re.fullmatch(r"(?s)[A-Z].*\.", text), f"{flag}: {text!r} is no sentence or phrase with a full stop"
        first = text.split()[0]
        assert first not in {"Of", "That", "It", "Its", "For", "In", "Else", "These"}, (
            f"{flag}: {text!r} goes on from what?"
        )
