"""The server's Prometheus metrics: batches, processor time, memory."""

from __future__ import annotations

import asyncio
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Batches", "Scrape", "batches_between", "scrape", "scrape_all"]

_TIMEOUT_S = 10.0
_STAGES = ("detect", "flow", "pose")


@dataclass(frozen=True)
class Batches:
    """Batches of one stage in a period of time.

    Attributes:
        count: number of batches.
        mean_items: mean number of frames, pairs of frames or people per batch.
        mean_ms: mean duration of a batch.
        shares: histogram of batch sizes: upper bound of items to the share of batches in that bucket.
    """

    count: int
    mean_items: float
    mean_ms: float
    shares: dict[str, float]


@dataclass(frozen=True)
class Scrape:
    """The samples at one moment.

    Attributes:
        values: by name and labels, as `name{label=value}`.
    """

    values: dict[str, float]

    def get(self, name: str) -> float | None:
        """A sample; None if the server has none of that name."""
        return self.values.get(name)


async def scrape(url: str) -> Scrape | None:
    """Read the metrics; None if `url` is empty.

    Raises:
        OSError: there is no answer, or it is not metrics.
    """
    if not url:
        return None
    try:
        text = await asyncio.to_thread(_read, url)
        families = list(text_string_to_metric_families(text))
    except (OSError, HTTPException, ValueError) as error:
        why = f"no HTTP ({type(error).__name__})" if isinstance(error, HTTPException) else error
        raise OSError(f"no metrics can be read at {url}: {why}") from error
    return Scrape({_key(sample.name, sample.labels): sample.value for each in families for sample in each.samples})


async def scrape_all(urls: Sequence[str]) -> Scrape | None:
    """The sums of several servers' metrics; None without any server. Raises as `scrape` does."""
    scrapes = [found for found in await asyncio.gather(*map(scrape, urls)) if found is not None]
    if not scrapes:
        return None
    total: Counter[str] = Counter()
    for each in scrapes:
        total.update(each.values)
    return Scrape(dict(total))


def batches_between(before: Scrape, after: Scrape) -> dict[str, Batches]:
    """The batches of each stage that ran between two moments."""
    found = {}
    for stage in _STAGES:
        count = _rise(before, after, _key("posewire_batch_items_count", {"stage": stage}))
        if not count:
            continue
        items = _rise(before, after, _key("posewire_batch_items_sum", {"stage": stage}))
        seconds = _rise(before, after, _key("posewire_batch_seconds_sum", {"stage": stage}))
        found[stage] = Batches(int(count), items / count, seconds / count * 1e3, _shares(before, after, stage, count))
    return found


def _shares(before: Scrape, after: Scrape, stage: str, count: float) -> dict[str, float]:
    shares, below = {}, 0.0
    for key in after.values:
        prefix = "posewire_batch_items_bucket{le="
        if key.startswith(prefix) and key.endswith(f",stage={stage}}}"):
            up_to = _rise(before, after, key)
            if up_to > below:
                shares[key[len(prefix) :].partition(",")[0]] = (up_to - below) / count
            below = up_to
    return shares


def _rise(before: Scrape, after: Scrape, key: str) -> float:
    return after.values.get(key, 0.0) - before.values.get(key, 0.0)


def _key(name: str, labels: dict[str, str]) -> str:
    inside = ",".join(f"{label}={value}" for label, value in sorted(labels.items()))
    return f"{name}{{{inside}}}" if inside else name


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:
        text: str = response.read().decode("utf-8")
        return text
