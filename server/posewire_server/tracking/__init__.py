"""Algorithm 1 of the paper: joint propagation, similarities, greedy matching, the queue Q. numpy only, no I/O.

Read `tracker.py` first: it goes through the algorithm step by step. Each step has a module of its own.
"""

from posewire_server.tracking.config import LEAST_ELAPSED, LONGEST_GAP, MOST_ELAPSED, Similarity, TrackerConfig
from posewire_server.tracking.flow_field import FlowField
from posewire_server.tracking.instances import Boxes, BoxSource, TrackedPeople
from posewire_server.tracking.observation import Observation, Observer
from posewire_server.tracking.tracker import FOUNDING_JOINTS, Tracker, TrackerState

__all__ = [
    "FOUNDING_JOINTS",
    "LEAST_ELAPSED",
    "LONGEST_GAP",
    "MOST_ELAPSED",
    "BoxSource",
    "Boxes",
    "FlowField",
    "Observation",
    "Observer",
    "Similarity",
    "TrackedPeople",
    "Tracker",
    "TrackerConfig",
    "TrackerState",
]
