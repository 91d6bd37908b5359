"""Arrays that a viewer draws at once: known tiles now, the others from a thread, the centre first. No Qt here."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops_napari.layers import LayerImage
from swin2sr_ops_napari.sheet import Memory
from swin2sr_ops_napari.view import Box, View

__all__ = ["Field", "ServedLevel", "Server"]

#: Side of a tile, in input pixels.
_TILE = 128
#: Bytes of tiles that are kept.
_BUDGET = 256 << 20
#: Seconds in which the viewer adds and draws a new layer, before tiles are computed beside it.
_FIRST = 0.25
#: Code of the viewer that draws a layer; all other code gets exact pixels.
_DRAWS = "napari.layers."

Bounds = tuple[tuple[int, int], ...]


class Field(Protocol):
    """Values that are computed from an image, box by box: its restored pixels, or how far to trust them."""

    @property
    def scale(self) -> int:
        """New pixels per pixel along Y and X."""
        ...

    @property
    def axes(self) -> str:
        """Axes of the values: the image's, with or without colour."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        ...

    def compute(self, view: View, box: Box) -> NDArray[Any]:
        """Return the values of ``box`` in one plane, with `axes`."""
        ...


class Server:
    """Computes the tiles of a field in a thread of its own, and keeps them.

    Parameters
    ----------
    image : LayerImage
        All levels; the last one is small.
    field : Field
    side : int
        Side of a tile, in input pixels.
    """

    def __init__(self, image: LayerImage, field: Field, side: int = _TILE) -> None:
        self.image, self.field, self.side = image, field, side
        self.tell: Callable[[BaseException | None], object] = lambda _error: None
        self._kept, self._lock = Memory(_BUDGET), threading.Lock()
        self._computing = threading.Lock()
        self._small: list[tuple[View, Box]] = []
        self._large: list[tuple[View, Box]] = []
        self._failed: set[tuple[Any, ...]] = set()
        self._thread: threading.Thread | None = None
        self._pause = _FIRST
        axes = field.axes
        self._views = [View(image, i, 1, (), Box(0, 0, 0, 0), (0.0, 0.0)) for i in range(len(image.levels))]
        self.levels = [
            ServedLevel(self, i, tuple(view.order.scaled(field.scale)[image.axes.index(a)] for a in axes))
            for i, view in enumerate(self._views)
        ]

    def exact(self, level: int, bounds: Bounds) -> NDArray[Any]:
        """Return the values of a region, computing what is not known."""
        return self._paste(self._empty(bounds), bounds, ((t, self._get(*t)) for t in self.tiles(level, bounds)))

    def known(self, level: int, bounds: Bounds) -> NDArray[Any]:
        """Return what is known of a region, coarser values or 0 elsewhere; ask the thread for the rest.

        The newest call counts: what an earlier one asked for and has not got yet is dropped.
        """
        with self._lock:
            found = [(tile, self._kept.get(*tile)) for tile in self.tiles(level, bounds)]
        missing = [tile for tile, values in found if values is None]
        self._want(level, bounds, missing, len(found))
        backdrop = self._coarser(level, bounds) if missing else None
        return self._paste(self._empty(bounds) if backdrop is None else backdrop, bounds, found)

    def begin(self, planes: Sequence[float]) -> None:
        """Compute the smallest level of one plane, which stands for everything until the rest comes.

        Parameters
        ----------
        planes : sequence of float
            Pixel index of the full-size level along each axis of the image.
        """
        order, full = self._views[-1].order, self.image.shape
        chosen = {a: min(max(int(planes[a] * order.shape[a] / full[a]), 0), order.shape[a] - 1) for a in order.planes}
        bounds = [(0, n) for n in self.levels[-1].shape]
        for axis in order.planes:
            at = self.field.axes.index(self.image.axes[axis])
            bounds[at] = (chosen[axis], chosen[axis] + 1)
        self.exact(len(self.levels) - 1, tuple(bounds))

    def rest(self) -> None:
        """Compute no more than the tile at work."""
        with self._lock:
            self._small, self._large = [], []

    def forget(self) -> None:
        """Rest, and drop all tiles: no viewer shows them."""
        self.rest()
        with self._lock:
            self._kept.clear()

    @property
    def busy(self) -> bool:
        """True while tiles are computed or waited for."""
        return self._thread is not None

    # --- tiles --------------------------------------------------------------------------------

    def _empty(self, bounds: Bounds) -> NDArray[Any]:
        """Return a region without known pixels: transparent where the type allows it."""
        value = np.nan if self.field.dtype.kind == "f" and "S" not in self.field.axes else 0
        return np.full([stop - start for start, stop in bounds], value, self.field.dtype)

    def _paste(
        self, values: NDArray[Any], bounds: Bounds, tiles: Iterable[tuple[tuple[View, Box], NDArray[Any] | None]]
    ) -> NDArray[Any]:
        """Fill a region with the part of each tile that lies in it."""
        for (view, box), found in tiles:
            if found is None:
                continue
            place = self.place(view, box)
            cut = [(max(a, lo), min(b, hi)) for (a, b), (lo, hi) in zip(place, bounds, strict=True)]
            target = tuple(slice(a - lo, b - lo) for (a, b), (lo, _) in zip(cut, bounds, strict=True))
            part = tuple(slice(a - start, b - start) for (a, b), (start, _) in zip(cut, place, strict=True))
            values[target] = found[part]
        return values

    def tiles(self, level: int, bounds: Bounds) -> Iterator[tuple[View, Box]]:
        """Iterate over the tiles of a region, on a grid that is fixed at the image's first pixel."""
        view, axes, scale, side = self._views[level], self.field.axes, self.field.scale, self.side
        order = view.order
        height, width = order.shape[order.y], order.shape[order.x]
        (y0, y1), (x0, x1) = (
            (a // scale // side * side, -(-b // scale)) for a, b in (bounds[axes.index(c)] for c in "YX")
        )
        along = [range(*bounds[axes.index(self.image.axes[axis])]) for axis in order.planes]
        for index in product(*along):
            plane = View(self.image, level, 1, tuple(zip(order.planes, index, strict=True)), view.window, view.centre)
            for y in range(y0, y1, side):
                for x in range(x0, x1, side):
                    yield plane, Box(y, min(y + side, height), x, min(x + side, width))

    def place(self, view: View, box: Box) -> Bounds:
        """Return the bounds of a tile's values along the axes of the field."""
        known = {self.image.axes[axis]: (index, index + 1) for axis, index in view.planes}
        s = self.field.scale
        known |= {"Y": (box.y0 * s, box.y1 * s), "X": (box.x0 * s, box.x1 * s), "S": (0, view.order.colours)}
        return tuple(known[a] for a in self.field.axes)

    def _coarser(self, level: int, bounds: Bounds) -> NDArray[Any] | None:
        """Return the values of a region from the finest coarser level that is known there, each repeated."""
        here = self.levels[level].shape
        for coarse in range(level + 1, len(self.levels)):
            there = self.levels[coarse].shape
            places = [
                np.minimum(((np.arange(start, stop) + 0.5) * m / n).astype(np.intp), m - 1)
                for (start, stop), n, m in zip(bounds, here, there, strict=True)
            ]
            around = tuple((int(p[0]), int(p[-1]) + 1) for p in places)
            with self._lock:
                found = [(tile, self._kept.get(*tile)) for tile in self.tiles(coarse, around)]
            if all(values is not None for _, values in found):
                values = self._paste(self._empty(around), around, found)
                return values[np.ix_(*(p - p[0] for p in places))]
        return None

    def _get(self, view: View, box: Box) -> NDArray[Any]:
        with self._computing:  # one at a time: each uses all cores
            with self._lock:
                found = self._kept.get(view, box)
            if found is None:
                found = self.field.compute(view, box)
                with self._lock:
                    self._kept.put(view, box, found)
        return found

    # --- the thread ---------------------------------------------------------------------------

    def _want(self, level: int, bounds: Bounds, missing: list[tuple[View, Box]], count: int) -> None:
        """Let the thread compute the ``missing`` tiles, of ``count`` that are drawn."""
        (y0, y1), (x0, x1) = (bounds[self.field.axes.index(c)] for c in "YX")
        s = self.field.scale
        centre = (y0 + y1) / 2 / s, (x0 + x1) / 2 / s
        missing = [tile for tile in missing if (tile[0].plane, tile[1]) not in self._failed]
        missing.sort(key=lambda tile: tile[1].distance(centre))
        # What cannot all be kept would be computed again and again: the rest stays coarse.
        colours = self._views[level].order.colours if "S" in self.field.axes else 1
        most = _BUDGET // (self.field.scale**2 * self.side**2 * self.field.dtype.itemsize * colours)
        del missing[max(most - (count - len(missing)), 0) :]
        with self._lock:
            if level == len(self.levels) - 1:
                self._small = missing  # the thumbnail's level, which is drawn beside the visible one
            else:
                self._large = missing
            if missing and self._thread is None:
                self._thread = threading.Thread(target=self._work, name="swin2sr-served", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        time.sleep(self._pause)
        self._pause = 0.0
        while True:
            with self._lock:
                queue = self._small or self._large
                if not queue:
                    self._thread = None
                    break
                tile = queue.pop(0)
            error: BaseException | None = None
            try:
                self._get(*tile)
            # The window shows any error, once per tile; the others are still tried.
            except Exception as exc:  # noqa: BLE001
                self._failed.add((tile[0].plane, tile[1]))
                error = exc
            if self.tell(error) is False:  # the window is closed
                self.rest()
        self.tell(None)  # all that was wanted is there


@dataclass(frozen=True, eq=False)
class ServedLevel:
    """One level of a layer, read through slices as Dask arrays are: a slice computes nothing.

    The viewer's drawing code gets what is known at once; everything else that reads the array gets exact values.
    """

    server: Server
    level: int
    shape: tuple[int, ...]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.server.field.dtype

    @property
    def chunks(self) -> tuple[int, ...]:
        """Unit in which reading is cheapest."""
        side = self.server.side * self.server.field.scale
        axes = self.server.field.axes
        return tuple(n if a == "S" else min(n, side) if a in "YX" else 1 for n, a in zip(self.shape, axes, strict=True))

    @property
    def _whole(self) -> _Part:
        return _Part(self, tuple((0, n) for n in self.shape), (False,) * self.ndim)

    def __getitem__(self, key: Any) -> Any:
        return self._whole[key]

    def __deepcopy__(self, _memo: Any) -> ServedLevel:
        """Share the tiles: napari copies the data of a layer that is duplicated."""
        return self

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self._whole.values(_drawn(sys._getframe(1)), dtype)


@dataclass(frozen=True, eq=False)
class _Part:
    """A region of a level; integers have taken some axes away."""

    whole: ServedLevel
    bounds: Bounds
    dropped: tuple[bool, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(b - a for (a, b), gone in zip(self.bounds, self.dropped, strict=True) if not gone)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.whole.dtype

    def __getitem__(self, key: Any) -> Any:
        keys = list(key) if isinstance(key, tuple) else [key]
        simple = len(keys) <= self.ndim and all(
            isinstance(k, (int, np.integer)) or (isinstance(k, slice) and k.step in (None, 1)) for k in keys
        )
        if not simple:  # steps, lists, an ellipsis: NumPy's rules, on exact values
            return self.values(drawn=False)[key]
        keys += [slice(None)] * (self.ndim - len(keys))
        bounds, dropped = [], []
        for (start, stop), gone in zip(self.bounds, self.dropped, strict=True):
            if gone:
                bounds.append((start, stop))
                dropped.append(True)
                continue
            k = keys.pop(0)
            if isinstance(k, slice):
                first, last, _ = k.indices(stop - start)
                bounds.append((start + first, start + max(first, last)))
            else:
                at = range(start, stop)[int(k)]  # raises IndexError as an array does
                bounds.append((at, at + 1))
            dropped.append(not isinstance(k, slice))
        return _Part(self.whole, tuple(bounds), tuple(dropped))

    def values(self, drawn: bool, dtype: Any = None) -> NDArray[Any]:
        read = self.whole.server.known if drawn else self.whole.server.exact
        found = read(self.whole.level, self.bounds).reshape(self.shape)
        return found if dtype is None else found.astype(dtype, copy=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self.values(_drawn(sys._getframe(1)), dtype)


def _drawn(caller: Any) -> bool:
    """Return True if the viewer draws a layer; were its modules renamed, it would get exact values, and wait."""
    return str(caller.f_globals.get("__name__", "")).startswith(_DRAWS)
