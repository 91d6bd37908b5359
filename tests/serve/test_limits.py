"""Limits in bytes that several caches share: what counts, and in how many steps units are evicted."""

from __future__ import annotations

import pytest

from swin2sr_ops.serve.limits import DiskLimit


class Cache:
    """A cache in memory, of units with the time of their last use, each of 10 bytes."""

    def __init__(self, *used: float, busy: bool = False, finished: bool = False) -> None:
        self.used, self.busy, self.batches = list(used), busy, 0
        self.finished = finished

    @property
    def bytes(self) -> int:
        return 10 * len(self.used)

    @property
    def units(self) -> int:
        return len(self.used)

    @property
    def oldest(self) -> float | None:
        return None if self.finished else min(self.used, default=None)

    def drop_oldest(self, excess: int, until: float | None) -> bool:
        if self.busy:
            return False
        self.batches += 1
        dropped = 0
        while excess > 0 and (len(self.used) > 1 if until is None else not dropped or min(self.used) <= until):
            self.used.remove(min(self.used))
            excess, dropped = excess - 10, dropped + 1
            if not self.used:
                break
        return True


def limited(limit: int, *caches: Cache) -> None:
    found = DiskLimit(limit)
    for cache in caches:
        found._caches.append(cache)
    found.evict()


def test_the_oldest_go_whichever_cache_they_are_in() -> None:
    first, second = Cache(1, 4, 5), Cache(2, 3, 6)
    limited(30, first, second)
    assert (first.used, second.used) == ([4, 5], [6])


def test_one_batch_per_cache() -> None:
    first, second = Cache(*range(100)), Cache(*range(100, 200))
    limited(500, first, second)
    assert (first.units, second.units) == (0, 50)
    assert (first.batches, second.batches) == (1, 1)


@pytest.mark.parametrize("state", ["finished", "busy"])
def test_what_cannot_be_evicted_does_not_empty_other_caches(state: str) -> None:
    fixed, other = Cache(*range(50), **{state: True}), Cache(60, 61, 62)
    limited(30, fixed, other)
    assert (fixed.units, other.used) == (50, [60, 61, 62])
    limited(20, fixed, other)
    assert (fixed.units, other.used) == (50, [61, 62])


def test_the_last_unit_stays() -> None:
    first, second = Cache(1), Cache(2, 3)
    limited(5, first, second)
    assert (first.used, second.used) == ([], [3])
