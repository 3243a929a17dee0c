from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from posewire_server.observability.histogram import histograms

_BOUNDS = (0.0, 0.5, 2.0, 10.0)


@given(
    st.lists(
        st.tuples(
            st.tuples(st.sampled_from("ab"), st.sampled_from("xy")),
            st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.75, 2.0, 10.0, 99.5]),
        )
    )
)
def test_it_is_exported_as_the_librarys_own_would_be(notes: list[tuple[tuple[str, str], float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    family = histograms(ours, "seconds", "Some time.", _BOUNDS, stage=["a", "b"], policy=["x", "y"])
    histogram = Histogram("seconds", "Some time.", ["stage", "policy"], buckets=_BOUNDS, registry=theirs)
    for labels in product("ab", "xy"):
        histogram.labels(*labels)
    for labels, value in notes:
        family[labels].observe(value)
        histogram.labels(*labels).observe(value)
    expected = generate_latest(theirs).decode().splitlines()
    assert generate_latest(ours).decode().splitlines() == [line for line in expected if "created" not in line]
