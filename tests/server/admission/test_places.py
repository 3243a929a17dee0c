from __future__ import annotations

from contextlib import ExitStack

import pytest

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
