from __future__ import annotations

import numpy as np

from posewire.joints import POSETRACK15
from posewire.posetrack_format import KEYPOINTS, category, image_id, in_keypoint_order


def test_joints_go_to_the_places_of_their_names_and_the_ears_stay_empty() -> None:
    joints = np.arange(1, 46, dtype=np.float32).reshape(15, 3)
    by_name = dict(zip(KEYPOINTS, in_keypoint_order(joints).tolist(), strict=True))
    assert by_name.pop("left_ear") == by_name.pop("right_ear") == [0, 0, 0]
    assert by_name == dict(zip(POSETRACK15.names, joints.tolist(), strict=True))


def test_the_category_is_that_of_the_data_set() -> None:
    person = category()
    assert (person["id"], person["name"], len(person["keypoints"]), len(person["skeleton"])) == (1, "person", 17, 19)
    assert {place for edge in person["skeleton"] for place in edge} == set(range(1, 18))


def test_ids_hold_the_numbers_of_video_and_frame() -> None:
    assert image_id(342, 7) == 10003420007
