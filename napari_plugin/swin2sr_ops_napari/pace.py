"""Estimate a run's speed and remaining time. No Qt here."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Pace", "span"]


class Pace:
    """Rate and time left, from what this run itself has done.

    Parameters
    ----------
    done, total : int
        Tiles that are there already, and all of them.
    clock : callable
        Seconds.
    """

    def __init__(self, done: int, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.total, self.done, self.pixels = total, done, 0
        self._first, self._clock = done, clock
        self._began = clock()

    def step(self, done: int, pixels: int) -> None:
        """``done`` tiles are there now, the last of ``pixels`` output pixels."""
        self.done = done
        self.pixels += pixels

    @property
    def seconds(self) -> float:
        """Since it began."""
        return self._clock() - self._began

    @property
    def rate(self) -> float:
        """Output megapixels per second."""
        return self.pixels / max(self.seconds, 1e-9) / 1e6

    @property
    def left(self) -> float | None:
        """Seconds; None before the first tile."""
        own = self.done - self._first
        return self.seconds / own * (self.total - self.done) if own else None

    def __str__(self) -> str:
        progress = f"{self.done} of {self.total} tiles"
        if self._first:
            progress += f" ({self._first} by an earlier run)"
        if self.left is None:
            return progress
        return f"{progress}, {self.rate:.2f} Mpx/s" + (f", {span(self.left)} left" if self.done < self.total else "")


def span(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
