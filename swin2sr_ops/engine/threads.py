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
from functools import partial
from typing import Generic, TypeVar

import torch

from swin2sr_ops.engine import parallel
from swin2sr_ops.engine.parallel import Spares

__all__ = ["Held", "Spares", "for_each", "single_thread_kernels"]

X = TypeVar("X")


class Held(Generic[X]):
    """A setting of torch's, which is the process's: changed while anybody relies on it, put back when the last leaves.

    Parameters
    ----------
    read, write : callable
        Give and change the setting.
    """

    def __init__(self, read: Callable[[], X], write: Callable[[X], None]) -> None:
        self._read, self._write = read, write
        self._changed, self._users = threading.Condition(), 0
        self._before: X  # known while there are users: not every torch knows every setting
        self._now: X

    @contextmanager
    def __call__(self, wanted: X) -> Iterator[X]:
        """Hold it at ``wanted``, when nobody wants it otherwise any more; yields what it was before anybody did."""
        with self._changed:
            self._changed.wait_for(lambda: self._users == 0 or self._now == wanted)
            if self._users == 0:
                self._before, self._now = self._read(), wanted
            self._users += 1
            self._write(wanted)  # also where others hold it: of some settings each thread has its copy
        try:
            yield self._before
        finally:
            with self._changed:
                self._users -= 1
                if self._users == 0:
                    self._write(self._before)
                    self._changed.notify_all()


#: Let torch run each CPU kernel on one thread; yields how many threads it had, for `for_each`.
single_thread_kernels = partial(Held(torch.get_num_threads, torch.set_num_threads), 1)


def for_each(function: Callable[[X], None], cells: Sequence[X], pool: ThreadPoolExecutor | None) -> None:
    """Call ``function``, which calls torch, for every cell; cells must not touch one another's output."""
    parallel.for_each(function, cells, pool, _part)


@torch.inference_mode()  # a thread does not inherit it
def _part(function: Callable[[X], None], cells: Sequence[X]) -> None:
    torch.set_num_threads(1)
    for cell in cells:
        function(cell)
