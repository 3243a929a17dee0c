from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import posewire

PUBLIC = ("connection", "errors", "joints", "overlay", "results", "resume", "settings", "sources", "writers")


def run_fresh(program: str) -> str:
    """Run a program in a fresh interpreter; returns what it prints."""
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


def test_the_sdk_never_needs_the_server_or_its_libraries() -> None:
    # Every public name is touched, so that every module of the SDK is loaded.
    program = """
import sys, posewire
for name in posewire.__all__:
    getattr(posewire, name)
heavy = {"torch", "torchvision", "onnxruntime", "onnx", "posewire_models", "posewire_server"}
print(sorted(heavy & {module.partition(".")[0] for module in sys.modules}))
"""
    assert run_fresh(program).strip() == "[]"


def test_the_command_line_starts_on_systems_without_sighup_and_fcntl() -> None:
    program = """
import signal, sys
del signal.SIGHUP
sys.modules["fcntl"] = None
from posewire.cli import main
from posewire.cli.interrupts import Interrupts
with Interrupts():
    sys.argv = ["posewire", "--version"]
    main()
"""
    assert run_fresh(program).startswith(f"posewire {posewire.__version__}")


def test_importing_alone_loads_nothing_but_the_package_itself() -> None:
    program = """
import sys, importlib, typing, __future__
before = set(sys.modules)
import posewire
print(sorted(sys.modules.keys() - before))
"""
    assert run_fresh(program).strip() == "['posewire']"


def test_every_public_name_is_there_and_listed() -> None:
    assert set(posewire.__all__) <= set(dir(posewire))
    for name in posewire.__all__:
        assert getattr(posewire, name) is not None


def test_type_checkers_see_the_names_that_are_loaded() -> None:
    tree = ast.parse(Path(str(posewire.__file__)).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == posewire._MODULE_OF
    assert sorted(seen) == sorted(posewire.__all__)


def test_whatever_a_public_signature_names_is_public() -> None:
    annotations: list[object] = []
    for value in (getattr(posewire, name) for name in posewire.__all__):
        for part in (value, *(vars(value).values() if inspect.isclass(value) else ())):
            part = part.fget if isinstance(part, property) else part
            if inspect.isfunction(part) or inspect.isclass(part):
                annotations += inspect.get_annotations(part).values()
    named = {word for each in annotations for word in re.findall(r"(?<![\w.])[A-Za-z]\w+", str(each))}
    own = {name for module in PUBLIC for name in importlib.import_module(f"posewire.{module}").__all__}
    assert named & own - set(posewire.__all__) == set()


def test_what_is_public_can_be_annotated_with_at_run_time() -> None:
    assert posewire.SourceLike | posewire.Image | posewire.BoxesLike | posewire.Codec | None


def test_an_unknown_name_is_an_attribute_error_that_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"'Tracker'.*AsyncClient"):
        posewire.Tracker  # type: ignore[attr-defined]  # noqa: B018
