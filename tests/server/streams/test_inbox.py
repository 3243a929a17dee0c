from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posewire_server.streams.inbox import DropPolicy, DropReason, Inbox


@dataclass(frozen=True)
class Item:
    number: int
    arrived_s: float = 0.0
    key: bool = False


class Drops(list[tuple[int, DropReason]]):
    def __call__(self, item: Item, reason: DropReason) -> None:
        self.append((item.number, reason))


def _inbox(
    policy: DropPolicy, drops: Drops, *, capacity: int = 2, max_age_s: float | None = None, video: bool = False
) -> Inbox[Item]:
    return Inbox[Item](
        capacity=capacity,
        policy=policy,
        on_drop=drops,
        max_age_s=max_age_s,
        can_start=(lambda item: item.key) if video else None,
        clock=lambda: 100.0,
    )


async def _rest(inbox: Inbox[Item]) -> list[int]:
    inbox.close()
    numbers = []
    while (item := await inbox.get()) is not None:
        numbers.append(item.number)
    return numbers


async def test_latest_drops_the_oldest() -> None:
    drops = Drops()
    inbox = _inbox(DropPolicy.LATEST, drops)
    for number in range(5):
        await inbox.put(Item(number))
    assert drops == [(0, DropReason.SUPERSEDED), (1, DropReason.SUPERSEDED), (2, DropReason.SUPERSEDED)]
    assert inbox.held_back == 0
    assert await _rest(inbox) == [3, 4]


async def test_all_holds_the_sender_back_and_drops_nothing() -> None:
    drops = Drops()
    inbox = _inbox(DropPolicy.ALL, drops)
    await inbox.put(Item(0))
    await inbox.put(Item(1))
    for number in (2, 3):
        another = asyncio.create_task(inbox.put(Item(number)))
        await asyncio.sleep(0)
        assert not another.done()
        assert inbox.held_back == number  # so many came while others waited
        assert await inbox.get() == Item(number - 2)
        await another
    assert await _rest(inbox) == [2, 3]
    assert drops == []


async def test_too_old_when_its_turn_comes() -> None:
    drops = Drops()
    inbox = _inbox(DropPolicy.ALL, drops, max_age_s=1.0)
    await inbox.put(Item(0, arrived_s=98.9))
    await inbox.put(Item(1, arrived_s=99.0))
    assert await _rest(inbox) == [1]
    assert drops == [(0, DropReason.TOO_OLD)]


async def test_draining_drops_what_waits_and_what_still_comes() -> None:
    drops = Drops()
    inbox = _inbox(DropPolicy.ALL, drops)
    await inbox.put(Item(0))
    await inbox.put(Item(1))
    held_back = asyncio.create_task(inbox.put(Item(2)))
    await asyncio.sleep(0)
    inbox.drain()
    await held_back
    await inbox.put(Item(3))
    assert await inbox.get() is None
    assert drops == [(number, DropReason.DRAINING) for number in range(4)]


@pytest.mark.parametrize("news", ["put", "close", "drain"])
async def test_news_wakes_a_reader(news: str) -> None:
    inbox = _inbox(DropPolicy.ALL, Drops())
    await inbox.put(Item(0))
    await inbox.get()  # from now on the first item is no news
    reader = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    if news == "put":
        await inbox.put(Item(1))
    elif news == "close":
        inbox.close()
    else:
        inbox.drain()
    async with asyncio.timeout(10):
        assert await reader == (Item(1) if news == "put" else None)


async def test_a_video_that_overflows_goes_on_at_the_next_key_frame() -> None:
    drops = Drops()
    inbox = _inbox(DropPolicy.LATEST, drops, capacity=3, video=True)
    for number in range(7):
        await inbox.put(Item(number, key=number in (0, 5)))
    # 3 finds the inbox full: 0 to 2 go, and 3 and 4 cannot be decoded without them.
    assert [number for number, _ in drops] == [0, 1, 2, 3, 4]
    assert await _rest(inbox) == [5, 6]


@given(
    policy=st.sampled_from(DropPolicy),
    capacity=st.integers(1, 4),
    video=st.booleans(),
    actions=st.lists(st.sampled_from(["put", "key", "old", "get"]), max_size=30),
    end=st.sampled_from(["close", "drain"]),
)
def test_every_item_comes_out_or_is_dropped_once(
    policy: DropPolicy, capacity: int, video: bool, actions: list[str], end: str
) -> None:
    async def play() -> None:
        drops, taken, put = Drops(), [], 0
        inbox = _inbox(policy, drops, capacity=capacity, max_age_s=1.0, video=video)
        for action in actions:
            if action == "get":
                if len(inbox) and (item := await _now(inbox)) is not None:
                    taken.append(item.number)
            elif policy is DropPolicy.LATEST or len(inbox) < capacity:
                await inbox.put(Item(put, arrived_s=0.0 if action == "old" else 100.0, key=action == "key"))
                put += 1
            assert len(inbox) <= capacity
        if end == "drain":
            inbox.drain()
        taken += await _rest(inbox)
        dropped = [number for number, _ in drops]
        assert sorted(taken + dropped) == list(range(put))
        assert taken == sorted(taken)

    asyncio.run(play())


async def _now(inbox: Inbox[Item]) -> Item | None:
    """What `get` gives without waiting for another item."""
    getting = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if not getting.done():
        getting.cancel()
        await asyncio.gather(getting, return_exceptions=True)
        return None
    return getting.result()
