"""Compute cells on several cores: each kernel on one thread, several kernels at a time.

The libraries behind torch also choose their algorithm by the number of threads (measured: the last
bit of a convolution differs between one thread and two). So every kernel of the engine runs on one
thread, on every machine, and the cores work on different cells. This is also faster than
splitting kernels that take a millisecond.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Generic, TypeVar

import torch

from swin2sr_ops.engine import parallel
from swin2sr_ops.engine.parallel import Spares

__all__ = ["Held", "Spares", "for_each", "single_thread_kernels"]

X = TypeVar("X")


class Held(Generic[X]):
    """Hold a setting of torch, which is global to the process, while there are users; the last one restores it.

    Parameters
    ----------
    read, write : callable
        Return and change the setting.
    """

    def __init__(self, read: Callable[[], X], write: Callable[[X], None]) -> None:
        self._read, self._write = read, write
        self._changed, self._users = threading.Condition(), 0
        self._before: X  # defined while there are users: not every torch has every setting
        self._now: X

    @contextmanager
    def __call__(self, wanted: X) -> Iterator[X]:
        """Hold the setting at ``wanted`` once no user needs another value; yield the value before any user."""
        with self._changed:
            self._changed.wait_for(lambda: self._users == 0 or self._now == wanted)
            if self._users == 0:
                self._before, self._now = self._read(), wanted
            self._users += 1
            self._write(wanted)  # also for later users: some settings have a copy per thread
        try:
            yield self._before
        finally:
            with self._changed:
                self._users -= 1
                if self._users == 0:
                    self._write(self._before)
                    self._changed.notify_all()


#: Run each of torch's CPU kernels on one thread; yields the previous number of threads, for `for_each`.
single_thread_kernels = partial(Held(torch.get_num_threads, torch.set_num_threads), 1)


def for_each(function: Callable[[X], None], cells: Sequence[X], pool: ThreadPoolExecutor | None) -> None:
    """Call ``function``, which calls torch, for every cell; no cell may write to another cell's output."""
    parallel.for_each(function, cells, pool, _part)


@torch.inference_mode()  # threads do not inherit the mode
def _part(function: Callable[[X], None], cells: Sequence[X]) -> None:
    torch.set_num_threads(1)
    for cell in cells:
        function(cell)
