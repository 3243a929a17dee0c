"""Nonsense of all kinds, against a real server: it says what is wrong with it, and nothing else happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import grpc
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import posewire
from posewire.v1 import track_pb2
from tests.processes.server_process import ServerProcess
from tests.server.stand_ins import picture
from tests.stress.fuzzing import ALLOWED, Call, Outcome, calls_of_noise, single_pictures, streams
from tests.stress.scale import SCALE

# What a decoder, a thread or an allocator takes once. A kept frame of 64x48 is 9 kB: in the long form, 450 MB.
_MOST_GROWTH_MB = 80.0


@pytest.fixture(scope="module")
def channel(server: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as open_channel:
        yield open_channel


def check_account(outcome: Outcome) -> None:
    """Of a stream that ended in order, every frame was answered for."""
    responses = [track_pb2.TrackResponse.FromString(response) for response in outcome.responses]
    if outcome.code is grpc.StatusCode.OK:
        summary = responses[-1].summary
        assert summary.received == summary.tracked + summary.failed + summary.dropped
        assert summary.tracked == sum(response.HasField("tracked") for response in responses)
        assert summary.failed == sum(response.HasField("failed") for response in responses)
        assert summary.dropped == sum(len(response.dropped) for response in responses)


@pytest.mark.parametrize("kind", [streams, single_pictures, calls_of_noise])
def test_nonsense_is_answered_and_leaves_no_trace(kind: object, server: ServerProcess, channel: grpc.Channel) -> None:
    process = psutil.Process(server.pid)
    codes: Counter[str] = Counter()
    memory: list[float] = []

    @settings(
        max_examples=SCALE.fuzz_cases,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(call=kind())  # type: ignore[operator]
    def fuzz(call: Call) -> None:
        outcome = call.make(channel)
        codes[outcome.code.name] += 1
        assert outcome.code in ALLOWED, outcome
        if call.method == "Track":
            check_account(outcome)
        if sum(codes.values()) % max(1, SCALE.fuzz_cases // 10) == 0:
            memory.append(process.memory_info().rss / 1e6)

    fuzz()
    print(f"\n{kind.__name__}: {sum(codes.values())} calls, {dict(codes)}, MB: {[round(each) for each in memory]}")  # type: ignore[attr-defined]
    assert codes["OK"]  # some of it made sense
    assert len(codes) > 1
    assert memory[-1] - memory[0] < _MOST_GROWTH_MB
    assert server.exit_status is None
    with posewire.Client(server.address) as client, client.track([picture(step) for step in range(3)]) as stream:
        assert [len(result.people) for result in stream] == [2, 2, 2]


@given(call=st.just(Call("Nothing", (b"",))))
@settings(max_examples=1)
def test_an_unknown_method_is_unimplemented(channel: grpc.Channel, call: Call) -> None:
    assert call.make(channel).code is grpc.StatusCode.UNIMPLEMENTED
