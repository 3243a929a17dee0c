from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from posewire_server.admission import places as module
from posewire_server.admission.places import Places
from posewire_server.admission.tokens import Caller, TokenGrant
from posewire_server.config import LimitsConfig
from posewire_server.drain import DrainSignal
from posewire_server.errors import LimitReached


def test_several_tokens_together_cannot_take_more_than_all_places_for_opening() -> None:
    places = Places(LimitsConfig(max_streams=2), DrainSignal(1.0))
    one, other, third = (Caller(TokenGrant(name)) for name in ("one", "other", "third"))
    with ExitStack() as held:
        for caller in [one, other] * 33:
            held.enter_context(places.opening(caller))
        with pytest.raises(LimitReached, match="66 new streams are waiting"):
            held.enter_context(places.opening(third))
    with places.opening(third):
        pass


CAMERA, OTHER = Caller(TokenGrant("camera", streams=1)), Caller(TokenGrant("other"))


@pytest.mark.parametrize("limits", [LimitsConfig(), LimitsConfig(max_streams=1)])
async def test_a_cancelled_stream_is_waited_for_by_as_many_as_there_are(
    limits: LimitsConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ENDING_S", 60.0)
    places = Places(limits, DrainSignal(1.0))
    async with asyncio.timeout(30):
        with places.for_stream(CAMERA):
            waiting = asyncio.create_task(places.cancelled_streams(CAMERA))
            await asyncio.sleep(0)
            await places.cancelled_streams(CAMERA)  # a second one does not wait
            await places.cancelled_streams(OTHER)  # nor does somebody without a stream
            assert not waiting.done()
        await waiting
        with places.for_stream(CAMERA):
            pass


async def test_a_stream_that_goes_on_is_not_waited_for_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ENDING_S", 0.01)
    places = Places(LimitsConfig(), DrainSignal(1.0))
    with places.for_stream(CAMERA):
        await places.cancelled_streams(CAMERA)
        with pytest.raises(LimitReached, match="streams=1"), places.for_stream(CAMERA):
            pass
