"""The thread that restores what is visible: the newest wish counts, older ones are dropped. No Qt here."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops import Restorer
from swin2sr_ops.hosting import Region
from swin2sr_ops_napari.layers import LayerImage
from swin2sr_ops_napari.ranges import Maps, quick_maps
from swin2sr_ops_napari.request import Request
from swin2sr_ops_napari.view import Box, View, compute, source_pixels
from swin2sr_ops_napari.warm import load_torch

__all__ = ["Painted", "Painter", "Wish"]


@dataclass(frozen=True)
class Wish:
    """The boxes to restore, in this order."""

    number: int
    view: View
    boxes: tuple[Box, ...]
    request: Request
    restorer: Restorer
    base: Box | None = None
    """Box in which the source's own pixels are shown first."""
    shown: tuple[Box, ...] = ()
    """All visible boxes: those to restore, and those that are known."""
    edition: int = 0
    """Counts the known changes of the source's pixels."""


@dataclass(frozen=True)
class Painted:
    """A restored box of a wish, the last one (``box`` None), or an error; ``base``: pixels of the source.

    ``edited`` answers `Painter.check`: whether the source's pixels are other ones than the wish was painted from.
    """

    wish: Wish
    box: Box | None = None
    pixels: NDArray[Any] | None = None
    exact: bool = True
    error: BaseException | None = None
    base: bool = False
    edited: bool | None = None


class Painter:
    """Works on the newest wish, in a thread of its own, and tells what is done.

    ``tell`` is called in that thread.
    """

    def __init__(self, tell: Callable[[Painted], None]) -> None:
        self._tell = tell
        self._wish: Wish | None = None
        self._check: Wish | None = None
        self._sums: dict[tuple[Any, ...], tuple[Region, int]] = {}  # of what boxes were painted from
        self._edition = 0
        self._changed = threading.Condition()
        self._closed = self._busy = False
        self._maps: tuple[tuple[Any, ...], Maps] | None = None
        self._thread: threading.Thread | None = None

    def want(self, wish: Wish | None) -> None:
        """Begin with ``wish`` as soon as the tile at work is done; None: rest."""
        with self._changed:
            self._wish = wish
            self._changed.notify()
            if self._thread is None and wish is not None:
                self._thread = threading.Thread(target=self._work, name="swin2sr-preview", daemon=True)
                self._thread.start()

    def check(self, wish: Wish) -> None:
        """Read again what ``wish`` was painted from, after the tile at work, and tell whether it was edited."""
        with self._changed:
            self._check = wish
            self._changed.notify()

    def close(self, timeout: float = 10.0) -> None:
        """End the thread, after the tile at work."""
        with self._changed:
            self._closed, self._wish = True, None
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._wish is not None or self._check is not None)
                if self._closed:
                    return
                wish = self._wish
            self._busy = True
            try:
                self._answer_check()
                if wish is not None:
                    self._paint(wish)
            # The window shows any error; the thread waits for the next wish.
            except Exception as exc:  # noqa: BLE001
                if wish is not None:
                    self._tell(Painted(wish, error=exc))
            finally:
                self._busy = False
            with self._changed:
                if self._wish is wish:
                    self._wish = None
            wish = None  # while it waits, it must not hold the image

    def _answer_check(self) -> None:
        with self._changed:
            wish, self._check = self._check, None
        if wish is None or wish.edition != self._edition:
            return
        known = [self._sums[key] for box in wish.shown if (key := (wish.view.plane, box)) in self._sums]
        edited = any(_sum(wish.view.read(region)) != before for region, before in known)
        self._tell(Painted(wish, edited=edited))

    @property
    def busy(self) -> bool:
        """True while a tile is computed."""
        return self._busy

    def _paint(self, wish: Wish) -> None:
        if wish.base is not None:
            pixels = source_pixels(wish.view, wish.base, wish.restorer.spec.scale)
            self._tell(Painted(wish, wish.base, pixels, base=True))
        load_torch()
        maps = self._maps_of(wish)
        if wish.edition != self._edition:
            self._sums, self._edition = {}, wish.edition
        for box in wish.boxes:
            if self._wish is not wish:
                return
            self._answer_check()
            pixels = compute(wish.view, box, wish.restorer, maps, partial(self._noted, wish.view, box))
            self._tell(Painted(wish, box, pixels, maps.exact))
        self._tell(Painted(wish, exact=maps.exact))

    def _noted(self, view: View, box: Box, region: Region) -> NDArray[Any]:
        """Read a region, and remember its checksum."""
        block = view.read(region)
        self._sums[view.plane, box] = region, _sum(block)
        return block

    def _maps_of(self, wish: Wish) -> Maps:
        key = (*_key(wish.view.image, wish.request), wish.edition)
        if self._maps is None or self._maps[0] != key:
            self._maps = key, quick_maps(wish.view.image, wish.request)
        return self._maps[1]


def _key(image: LayerImage, request: Request) -> tuple[Any, ...]:
    return tuple(id(level) for level in image.levels), image.axes, request.range


def _sum(block: NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(block).data.cast("B"))
