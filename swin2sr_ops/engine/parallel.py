"""Share work between threads on several cores, without torch."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

__all__ = ["Spares", "cores", "for_each", "usable_cores"]

X = TypeVar("X")

_asked = threading.local()


def usable_cores() -> int:
    """Return how many threads an engine of ours takes: torch's number where torch is there, else what it would be."""
    torch = sys.modules.get("torch")
    return max(_default_cores() if torch is None else torch.get_num_threads(), getattr(_asked, "cores", 1))


def _default_cores() -> int:
    """``OMP_NUM_THREADS``, or the physical cores that this process may run on."""
    named = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if named.isdigit() and int(named) > 0:
        return int(named)
    import psutil

    logical = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(min(psutil.cpu_count(logical=False) or logical, logical), 1)


@contextmanager
def cores(threads: int) -> Iterator[None]:
    """Let this thread's calls of an engine take ``threads`` cores at least."""
    before = getattr(_asked, "cores", 1)
    _asked.cores = threads
    try:
        yield
    finally:
        _asked.cores = before


class Spares(Generic[X]):
    """Objects that threads borrow, one thread at a time; a new object is made if none is idle.

    Parameters
    ----------
    make : callable
        Makes a new object.
    *first
        Existing objects.
    """

    def __init__(self, make: Callable[[], X], *first: X) -> None:
        self._make = make
        self._idle: SimpleQueue[X] = SimpleQueue()
        for one in first:
            self._idle.put(one)

    @contextmanager
    def borrowed(self) -> Iterator[X]:
        """Lend an object that no other thread has at the same time."""
        try:
            one = self._idle.get_nowait()
        except Empty:
            one = self._make()
        try:
            yield one
        finally:
            self._idle.put(one)


def for_each(
    function: Callable[[X], None],
    parts: Sequence[X],
    pool: ThreadPoolExecutor | None,
    share: Callable[[Callable[[X], None], Sequence[X]], None] | None = None,
) -> None:
    """Call ``function`` for every part; no part may write to another part's output.

    Parameters
    ----------
    function : callable
    parts : sequence
    pool : ThreadPoolExecutor, optional
        Each of its threads takes an equal share of the parts; without a pool, this thread takes all.
    share : callable, optional
        Calls ``function`` for the parts of one thread, if preparations are necessary before.
    """
    if pool is None or len(parts) < 2:
        for part in parts:
            function(part)
        return
    workers: int = pool._max_workers
    shares = [parts[i::workers] for i in range(workers)]
    for done in [pool.submit(share or _share, function, some) for some in shares if some]:
        done.result()


def _share(function: Callable[[X], None], parts: Sequence[X]) -> None:
    for part in parts:
        function(part)
