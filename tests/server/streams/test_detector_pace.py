from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posewire_server.streams.detector_pace import DetectorPace


def _play(pace: DetectorPace, strains: Iterable[bool]) -> list[int]:
    return [pace.frame_tracked(strained=strained) for strained in strains]


def test_under_lasting_strain_it_doubles_up_to_what_the_client_allows() -> None:
    pace = DetectorPace(1, 6)
    assert sorted(set(_play(pace, [True] * 40))) == [1, 2, 4, 6]
    assert pace.every == 6


@pytest.mark.parametrize(("strained", "calm"), [(2, 20), (3, 5)])
def test_a_hiccup_changes_nothing(strained: int, calm: int) -> None:
    assert set(_play(DetectorPace(1, 8), ([True] * strained + [False] * calm) * 5)) == {1}


@pytest.mark.parametrize(("calm", "every"), [(1, 2), (2, 2), (3, 1)])
def test_with_four_strained_frames_of_eight_it_doubles(calm: int, every: int) -> None:
    assert _play(DetectorPace(1, 8), [True, *[False] * calm, True, False, True, False, True])[-1] == every


def test_when_it_is_calm_it_comes_back() -> None:
    pace = DetectorPace(3, 12)
    _play(pace, [False] * 100 + [True] * 20)
    assert set(_play(pace, ([False] * 31 + [True]) * 5)) == {12}  # it was never calm for long
    assert _play(pace, [False] * 100) == [12] * 31 + [6] * 32 + [3] * 37


def test_without_leave_of_the_client_nothing_is_stretched() -> None:
    assert set(_play(DetectorPace(2, 0), [True] * 100)) == {2}


def test_a_load_that_returns_whenever_it_relaxes_makes_it_slower_to_relax() -> None:
    pace = DetectorPace(1, 2)
    changes, frames, every = [], 0, 1
    while frames < 4000:
        now = pace.frame_tracked(strained=every == 1)  # with the detector on every frame, it is too much
        frames += 1
        if now != every:
            changes.append(frames)
            every = now
    pauses = [later - earlier for earlier, later in itertools.pairwise(changes)]
    assert pauses == [32, 4, 64, 4, 128, 4, 256, 4, 512, 4, 1024, 4, 1024, 4]


@given(st.lists(st.booleans(), max_size=300), st.integers(1, 20), st.integers(0, 20))
def test_it_stays_within_bounds(strains: list[bool], least: int, most: int) -> None:
    assert all(least <= every <= max(least, most) for every in _play(DetectorPace(least, most), strains))
