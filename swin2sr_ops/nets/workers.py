"""Cells on several cores: each kernel on one thread, several kernels at a time.

The libraries behind torch choose their algorithm by the number of threads too (measured: the last
bit of a convolution differs between one thread and two). So every kernel of the engine runs on one
thread, whatever the machine, and the cores work on different cells. That is also faster than
splitting kernels that last a millisecond.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

import torch

__all__ = ["Spares", "for_each", "single_thread_kernels"]

X = TypeVar("X")

_lock = threading.Lock()
_users = 0
_threads = 1


@contextmanager
def single_thread_kernels() -> Iterator[int]:
    """Let torch run each CPU kernel on one thread; yields how many threads it had, for `for_each`.

    The setting is the process's. It is put back when the last user leaves.
    """
    global _users, _threads  # noqa: PLW0603  (torch's own setting is global; this counts who relies on it)
    with _lock:
        if _users == 0:
            _threads = torch.get_num_threads()
        _users += 1
        torch.set_num_threads(1)  # also for a caller in a thread of its own: each thread has its copy
    try:
        yield _threads
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                torch.set_num_threads(_threads)


class Spares(Generic[X]):
    """Things of which each thread borrows one at a time; another is made where none is idle.

    Parameters
    ----------
    make : callable
        Gives another.
    *first
        Those that are there already.
    """

    def __init__(self, make: Callable[[], X], *first: X) -> None:
        self._make = make
        self._idle: SimpleQueue[X] = SimpleQueue()
        for one in first:
            self._idle.put(one)

    @contextmanager
    def borrowed(self) -> Iterator[X]:
        """One that no other thread has meanwhile."""
        try:
            one = self._idle.get_nowait()
        except Empty:
            one = self._make()
        try:
            yield one
        finally:
            self._idle.put(one)


def for_each(function: Callable[[X], None], cells: Sequence[X], pool: ThreadPoolExecutor | None) -> None:
    """Call ``function`` for every cell; cells must not touch one another's output."""
    if pool is None or len(cells) < 2:
        for cell in cells:
            function(cell)
        return
    workers: int = pool._max_workers
    parts = [cells[i::workers] for i in range(workers)]
    for done in [pool.submit(_part, function, part) for part in parts if part]:
        done.result()


@torch.inference_mode()  # a thread does not inherit it
def _part(function: Callable[[X], None], cells: Sequence[X]) -> None:
    torch.set_num_threads(1)
    for cell in cells:
        function(cell)
