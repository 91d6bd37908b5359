"""Limits in bytes that the caches of several images share: in memory, and on disk."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Protocol

from swin2sr_ops.serve.codec import Unit

__all__ = ["DiskLimit", "MemoryCache", "Values", "size_of"]

#: The stored bytes of a unit by their keys; None for a chunk that is all fill value.
Values = dict[str, bytes | None]


def size_of(values: Mapping[str, bytes | None]) -> int:
    """Count the bytes of a unit."""
    return sum(len(value) for value in values.values() if value is not None)


class _Kept:
    """The units of one or several images that were used last."""

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0
        self.units: OrderedDict[tuple[MemoryCache, Unit], Values] = OrderedDict()
        self.lock = threading.Lock()


class MemoryCache:
    """The units of an image that were used last, up to a limit in bytes, which other images may share.

    Parameters
    ----------
    limit : int
    beside : MemoryCache, optional
        Share this one's limit instead.
    """

    def __init__(self, limit: int, beside: MemoryCache | None = None) -> None:
        self._kept: _Kept = _Kept(limit) if beside is None else beside._kept

    @property
    def bytes(self) -> int:
        """Bytes of all images that share the limit."""
        return self._kept.bytes

    def get(self, unit: Unit) -> Values | None:
        """Return the bytes of ``unit``, if they are here."""
        kept, name = self._kept, (self, unit)
        with kept.lock:
            if name not in kept.units:
                return None
            kept.units.move_to_end(name)
            return kept.units[name]

    def put(self, unit: Unit, values: Values) -> None:
        """Keep ``values``; the units that were not used for longest go, whichever image they are of."""
        kept, name = self._kept, (self, unit)
        with kept.lock:
            kept.bytes -= size_of(kept.units.pop(name, {}))
            kept.units[name] = values
            kept.bytes += size_of(values)
            while kept.bytes > kept.limit and len(kept.units) > 1:
                kept.bytes -= size_of(kept.units.popitem(last=False)[1])

    def count(self, level: int) -> int:
        """Count this image's units of ``level``."""
        with self._kept.lock:
            return sum(owner is self and unit.level == level for owner, unit in self._kept.units)

    def clear(self) -> None:
        """Forget this image's units."""
        kept = self._kept
        with kept.lock:
            for name in [name for name in kept.units if name[0] is self]:
                kept.bytes -= size_of(kept.units.pop(name))


class _Cache(Protocol):
    """A cache on disk, as a limit sees it."""

    bytes: int

    @property
    def units(self) -> int: ...

    @property
    def oldest(self) -> float | None: ...

    def drop_oldest(self, excess: int, until: float | None) -> bool: ...


class DiskLimit:
    """Bytes that the caches of one or several images may have together; None for any number.

    Only what may be evicted counts: not a finished output, nor an unfinished one on which a run is at work. Else such
    an output would empty all other caches.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self._caches: list[_Cache] = []
        self._lock = threading.Lock()

    def join(self, cache: _Cache) -> None:
        """Count ``cache``, and evict what is too much."""
        with self._lock:
            self._caches.append(cache)
        self.evict()

    def leave(self, cache: _Cache) -> None:
        """Count ``cache`` no longer."""
        with self._lock:
            if cache in self._caches:
                self._caches.remove(cache)

    def evict(self) -> None:
        """Remove the units that were not used for longest, whichever cache they are in, until the limit holds."""
        if self.limit is None:
            return
        with self._lock:
            blocked: list[_Cache] = []  # a run is at work there: nothing is removed
            while True:
                known = [(cache.oldest, i) for i, cache in enumerate(self._caches) if cache not in blocked]
                ages = sorted((used, i) for used, i in known if used is not None)
                excess = sum(self._caches[i].bytes for _, i in ages) - self.limit
                if excess <= 0 or sum(self._caches[i].units for _, i in ages) <= 1:
                    return
                cache = self._caches[ages[0][1]]
                if not cache.drop_oldest(excess, ages[1][0] if len(ages) > 1 else None):
                    blocked.append(cache)
