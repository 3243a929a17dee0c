"""What is read strictly is told as what it is: whose it was is for the caller to say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from posewire_models.manifest import BundleError, settings_from_json
from posewire_models.published import catalogue
from posewire_models.published.errors import StoreError
from posewire_models.published.store import Store
from posewire_models.typed_json import TypedJsonError, from_json


@dataclass(frozen=True, kw_only=True)
class Inner:
    share: float

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share {self.share} must be in 0..1")


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    size: tuple[int, int] = (1, 2)
    inner: Inner | None = None
    more: Mapping[str, Any] | None = None


def test_lists_become_tuples_and_objects_dataclasses() -> None:
    values = {"name": "a", "size": [3, 4], "inner": {"share": 1}, "more": {"x": [1]}}
    assert from_json(Outer, values, "a.json") == Outer(name="a", size=(3, 4), inner=Inner(share=1.0), more={"x": [1]})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "a.json: expected an object with the fields of Outer, got []"),
        ({}, "a.json: missing field name"),
        ({"name": 1}, "a.json: name: expected <class 'str'>, got 1"),
        ({"name": "a", "inner": {"share": 2}}, "a.json: inner: share 2.0 must be in 0..1"),  # the dataclass's own words
    ],
)
def test_faults_are_told_with_their_place(values: object, message: str) -> None:
    with pytest.raises(TypedJsonError) as told:
        from_json(Outer, values, "a.json")
    assert str(told.value) == message
    assert not isinstance(told.value, BundleError)
    with pytest.raises(BundleError) as of_bundle:
        settings_from_json(Outer, values, "a.json")
    assert str(of_bundle.value) == message


def test_a_record_of_the_store_is_told_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.weights.mkdir()
    (store.weights / "net.json").write_text('{"colour": 1}')
    with pytest.raises(StoreError) as told:
        store.find("net")
    assert str(told.value).startswith(f"{store.weights / 'net.json'} is damaged (record: unknown field colour")


def test_an_entry_of_the_catalogue_is_no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "files.toml").write_text("[net]\ncolour = 1\n")
    monkeypatch.setattr(catalogue, "_FILES", tmp_path / "files.toml")
    with pytest.raises(TypedJsonError, match=r"^files\.toml: net: unknown field colour"):
        catalogue.catalogue.__wrapped__()
