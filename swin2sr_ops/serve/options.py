"""Options of a restored store beside the request, and its counters."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

__all__ = ["AFFORDABLE", "Counts", "Options"]

#: Input pixels that one chunk of a smaller level may cost; beyond, it is restored from a smaller copy of the source.
AFFORDABLE = 1 << 20


@dataclass(frozen=True)
class Options:
    """Options beside the request: those of the output, and of the cache.

    Attributes
    ----------
    ngff, pyramid, context, spread, labels, interval, calibration, noise
        As in `swin2sr_ops.restore_image`, whose ``limit`` of half widths has no counterpart here.
    cache : str, optional
        The output whose unfinished state is the cache.
    limit : int, optional
        Bytes of chunks in the cache, or in memory without one.
    name : str
        Of the output, such as ``"x.ome.zarr"``: images without a name of their own are called after it.
    affordable : int
        Input pixels that one chunk of a smaller level may cost.
    inner : bool
        Whether this is an image of an archive, which its run knows by another key.
    final : str, optional
        Where ``cache`` lies once the archive is finished.
    """

    ngff: str = "0.5"
    pyramid: bool = True
    context: bool = False
    spread: bool = False
    labels: str = "leave"
    cache: str | None = None
    limit: int | None = None
    name: str = ""
    affordable: int = AFFORDABLE
    inner: bool = False
    final: str | None = None
    interval: float | None = None
    calibration: str | None = None
    noise: float | None = None

    @property
    def output(self) -> dict[str, Any]:
        """The options of the output that were given: what a run with the same request is known by."""
        return self.archive_output | ({"anywhere": True} if self.inner else {})

    @property
    def archive_output(self) -> dict[str, Any]:
        """The options that a run of the whole archive is given."""
        names = ("ngff", "pyramid", "context", "spread", "labels", "interval", "calibration", "noise")
        given = {name: getattr(self, name) for name in names}
        usual = Options()
        return {name: value for name, value in given.items() if value != getattr(usual, name)}


@dataclass
class Counts:
    """Counters of requested chunks: cached, restored, and made of the level before."""

    hits: int = 0
    misses: int = 0
    halved: int = 0
    lock: Any = field(default_factory=threading.Lock, repr=False)

    def add(self, name: str) -> None:
        """Count one more."""
        with self.lock:
            setattr(self, name, getattr(self, name) + 1)
