"""Where nothing is scored."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posewire_evaluation.ignore_regions import inside, without_ignored
from tests.evaluation.people import frame, pose

SQUARE = np.array([[0, 0], [10, 0], [10, 10], [0, 10]], np.float64)
# A star of five points: what its lines enclose twice is outside, by the even-odd rule.
STAR = np.array([[50, 0], [80, 95], [0, 35], [100, 35], [20, 95]], np.float64)


@pytest.mark.parametrize(
    ("polygon", "point", "expected"),
    [
        (SQUARE, (5, 5), True),
        (SQUARE, (15, 5), False),
        (SQUARE, (-5, 0), False),  # a ray through two corners
        (SQUARE, (0, 5), False),  # the border does not belong to it
        (SQUARE, (10, 10), False),  # nor does a corner
        (SQUARE, (9.999, 9.999), True),
        (STAR, (50, 20), True),  # in a point of the star
        (STAR, (50, 50), False),  # in its middle
        (SQUARE[:2], (5, 0), False),  # a line has no interior
        (np.zeros((0, 2)), (0, 0), False),
    ],
)
def test_interior(polygon: np.ndarray, point: tuple[float, float], expected: bool) -> None:
    assert inside(polygon, np.array([point], np.float64)).tolist() == [expected]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=3, max_size=3, unique=True), st.data())
def test_triangles_are_as_opencv_sees_them(corners: list[tuple[int, int]], data: st.DataObject) -> None:
    points = data.draw(st.lists(st.tuples(st.integers(-2, 22), st.integers(-2, 22)), min_size=1, max_size=20))
    triangle = np.array(corners, np.float64)
    (ax, ay), (bx, by), (cx, cy) = corners
    if (bx - ax) * (cy - ay) == (by - ay) * (cx - ax):
        return  # flat
    expected = [cv2.pointPolygonTest(triangle.astype(np.float32), tuple(map(float, p)), False) > 0 for p in points]
    assert inside(triangle, np.array(points, np.float64)).tolist() == expected


def test_joints_are_ignored_and_people_without_any_left() -> None:
    people = frame(0, {1: pose(5, 5), 2: pose(5, 5, only=["nose"]), 3: pose(500)})
    kept = without_ignored(people, (SQUARE,))
    assert kept.ids.tolist() == [1, 3]
    assert kept.present.sum(axis=1).tolist() == [14, 15]  # the nose of person 1 lies in the square
    assert without_ignored(people, ()) is people
