"""Exact tiling as integers: what to read, what to compute after each layer, what to write.

A Swin network sees a bounded neighbourhood and a window grid fixed at the image's first pixel. So
a tile equals the same pixels of a pass over the whole image if the plan walks its output back
through the layers: a convolution adds its radius, a window layer snaps the interval outwards to
its own grid, and nothing crosses the true borders of the padded image. `Span` does that for one
axis, `TilePlan` for an image. Nothing here imports an array library.

All positions are pixels of the *input* plane, counted from the first pixel of the whole image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from swin2sr_ops.errors import PlanError
from swin2sr_ops.layers import network_steps
from swin2sr_ops.spec import ModelSpec

__all__ = [
    "CELL_WINDOWS",
    "Halo",
    "Span",
    "Tile",
    "TilePlan",
    "check_halo",
    "pad_index",
    "padded_size",
    "receptive_halo",
    "tile_bytes",
]

#: Windows along the side of a cell, the fixed block in which the engine computes everything.
CELL_WINDOWS = 4

Halo = int | Literal["exact"]
Interval = tuple[int, int]


def padded_size(size: int, window: int) -> int:
    """Smallest multiple of ``window`` that holds ``size`` pixels."""
    return -(-size // window) * window


def pad_index(start: int, stop: int, size: int) -> list[int]:
    """Source pixel of each pixel in ``[start, stop)``, where pixels from ``size`` on are padding.

    By reflection (the edge is not repeated), as the networks' ``check_image_size`` does; where the
    image is too small to reflect that far, the value that reflection reached last is repeated.
    """
    return [i if i < size else max(2 * (size - 1) - i, 0) for i in range(start, stop)]


@dataclass(frozen=True)
class Span:
    """One axis of one tile.

    Attributes
    ----------
    start, stop : int
        Pixels the tile owns; ``[start * scale, stop * scale)`` is what it writes.
    read : (int, int)
        What enters the network, in the padded image, a multiple of the window at both ends.
    borders : (int, int)
        Where the network's image ends: the padded image if exact, else the read interval.
    needed : tuple of (int, int)
        For each step, the interval of its output that later steps look at.
    """

    start: int
    stop: int
    size: int
    scale: int
    read: Interval
    borders: Interval
    needed: tuple[Interval, ...]

    @classmethod
    def of(cls, start: int, stop: int, size: int, spec: ModelSpec, halo: Halo) -> Span:
        """The span of pixels ``[start, stop)`` of an axis of ``size`` pixels, for either kind of halo."""
        if halo == "exact":
            return cls.exact(start, stop, size, spec)
        return cls.approximate(start, stop, size, spec, int(halo))

    @classmethod
    def exact(cls, start: int, stop: int, size: int, spec: ModelSpec) -> Span:
        """The span whose result is that of the whole image."""
        borders = (0, padded_size(size, spec.window))
        first, needed = _walk_back((start, stop), borders, spec)
        return cls(start, stop, size, spec.scale, _snap(first, borders, spec.window, 0), borders, needed)

    @classmethod
    def approximate(cls, start: int, stop: int, size: int, spec: ModelSpec, halo: int) -> Span:
        """The span that sees ``halo`` pixels around (a multiple of the window) and no more."""
        whole = (0, padded_size(size, spec.window))
        read = _snap((start - halo, stop + halo), whole, spec.window, 0)
        _, needed = _walk_back((start, stop), read, spec)
        return cls(start, stop, size, spec.scale, read, read, needed)

    @property
    def source(self) -> Interval:
        """Pixels of the real image that must be fetched to fill `read`."""
        index = pad_index(*self.read, self.size)
        return min(index), max(index) + 1

    @property
    def padding(self) -> list[int]:
        """For each pixel of `read`, its place in `source`."""
        first = self.source[0]
        return [i - first for i in pad_index(*self.read, self.size)]

    @property
    def write(self) -> Interval:
        """Output pixels this span owns."""
        return self.start * self.scale, self.stop * self.scale

    def split(self, spec: ModelSpec, halo: Halo) -> tuple[Span, Span]:
        """Two spans for the two halves, cut at a multiple of the window."""
        middle = padded_size((self.start + self.stop) // 2, spec.window)
        middle = middle if self.start < middle < self.stop else (self.start + self.stop) // 2
        first = Span.of(self.start, middle, self.size, spec, halo)
        return first, Span.of(middle, self.stop, self.size, spec, halo)


def _snap(interval: Interval, borders: Interval, window: int, shift: int) -> Interval:
    lo = (interval[0] - shift) // window * window + shift
    hi = -(-(interval[1] - shift) // window) * window + shift
    return max(lo, borders[0]), min(hi, borders[1])


def _walk_back(out: Interval, borders: Interval, spec: ModelSpec) -> tuple[Interval, tuple[Interval, ...]]:
    """Interval of the input, and of each step's output, on which ``out`` depends."""
    needed = []
    for step in reversed(network_steps(spec)):
        needed.append(out)
        if step.kind == "window":
            out = _snap(out, borders, spec.window, step.shift)
        else:
            out = max(out[0] - step.reach, borders[0]), min(out[1] + step.reach, borders[1])
    return out, tuple(reversed(needed))


def receptive_halo(spec: ModelSpec) -> int:
    """Pixels of context an exact tile needs on each side, as a multiple of the window."""
    far = 64 * (sum(spec.depths) + 8) * spec.window  # a place that no border reaches
    span = Span.exact(far, far + spec.window, 2 * far, spec)
    return max(far - span.read[0], span.read[1] - far - spec.window)


@dataclass(frozen=True)
class Tile:
    """One rectangle of one plane: what a task reads, computes and writes."""

    y: Span
    x: Span

    @property
    def shape(self) -> tuple[int, int]:
        """Input pixels owned, (rows, columns)."""
        return self.y.stop - self.y.start, self.x.stop - self.x.start

    def __str__(self) -> str:
        return f"y={self.y.start}:{self.y.stop} x={self.x.start}:{self.x.stop}"


@dataclass(frozen=True)
class TilePlan:
    """How a plane of ``height`` x ``width`` input pixels is cut, before anything runs.

    Parameters
    ----------
    spec : ModelSpec
        The model, which decides reach, window and scale.
    height, width : int
        Size of the plane in input pixels.
    tile : (int, int)
        Rows and columns that one task owns, in input pixels.
    halo : "exact" or int
        ``"exact"``: the result is that of one pass over the whole plane. A number, a multiple of
        the window: only so many pixels around are seen, faster and slightly different.
    itemsize : int
        Bytes per feature value while computing (4 for float32).

    Raises
    ------
    PlanError
        If the size, tile or halo is impossible.
    """

    spec: ModelSpec
    height: int
    width: int
    tile: tuple[int, int]
    halo: Halo = "exact"
    itemsize: int = 4

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise PlanError(f"The image has no pixels along Y or X ({self.height} x {self.width}): nothing to restore.")
        if min(self.tile) < 1:
            raise PlanError(f"Tile {self.tile} must have at least one row and one column.")
        check_halo(self.halo, self.spec)

    def _spans(self, size: int, tile: int) -> tuple[Span, ...]:
        starts = range(0, size, tile)
        return tuple(Span.of(start, min(start + tile, size), size, self.spec, self.halo) for start in starts)

    @cached_property
    def rows(self) -> tuple[Span, ...]:
        """Spans along Y, top to bottom."""
        return self._spans(self.height, self.tile[0])

    @cached_property
    def columns(self) -> tuple[Span, ...]:
        """Spans along X, left to right."""
        return self._spans(self.width, self.tile[1])

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def __iter__(self) -> Any:
        return (Tile(y, x) for y in self.rows for x in self.columns)

    @property
    def over_read(self) -> float:
        """Pixels read by all tiles, per pixel of the image."""
        rows = sum(s.source[1] - s.source[0] for s in self.rows)
        columns = sum(s.source[1] - s.source[0] for s in self.columns)
        return rows * columns / (self.height * self.width)

    @property
    def over_compute(self) -> float:
        """Pixels computed per pixel of the image, averaged over the layers, cells included."""
        steps = network_steps(self.spec)
        total = 0
        for i, step in enumerate(steps):
            offset, side = step.offset(self.spec.window), self.cell
            rows = sum(_cell_cover(s.needed[i], side, offset) for s in self.rows)
            total += rows * sum(_cell_cover(s.needed[i], side, offset) for s in self.columns)
        return total / (len(steps) * self.height * self.width)

    @property
    def cell(self) -> int:
        """Side of the engine's fixed block, in pixels."""
        return CELL_WINDOWS * self.spec.window

    @property
    def peak_bytes(self) -> int:
        """Memory the largest tile takes while it is computed, in bytes (the model's weights not counted)."""
        rows = max(s.read[1] - s.read[0] for s in self.rows)
        columns = max(s.read[1] - s.read[0] for s in self.columns)
        return tile_bytes(self.spec, rows, columns, self.itemsize)

    @property
    def expected_error(self) -> float | None:
        """Largest error against the whole image, in fractions of full range; None where it was not measured."""
        if self.halo == "exact":
            return 0.0
        known = {int(k): v for k, v in self.spec.halo_error.items() if int(k) <= self.halo}
        return known[max(known)] if known else None

    def to_dict(self) -> dict[str, Any]:
        """The plan's figures as JSON-ready values."""
        return {
            "model": self.spec.name,
            "input": [self.height, self.width],
            "output": [self.height * self.spec.scale, self.width * self.spec.scale],
            "tile": list(self.tile),
            "tiles": len(self),
            "halo": self.halo,
            "halo_pixels": receptive_halo(self.spec) if self.halo == "exact" else self.halo,
            "over_read": round(self.over_read, 4),
            "over_compute": round(self.over_compute, 4),
            "peak_bytes": self.peak_bytes,
            "expected_error": self.expected_error,
        }

    def __str__(self) -> str:
        d = self.to_dict()
        error = self.expected_error
        told = "none, equals one pass over the whole image" if error == 0 else f"at most about {error} of full range"
        if error is None:
            told = "not measured for this model and halo"
        return "\n".join(
            [
                f"model       {d['model']} (x{self.spec.scale})",
                f"input       {self.height} x {self.width} px -> output {d['output'][0]} x {d['output'][1]} px",
                f"tiles       {len(self)} of {self.tile[0]} x {self.tile[1]} px",
                f"halo        {self.halo} ({d['halo_pixels']} px)",
                f"over-read   {self.over_read:.2f}x, over-compute {self.over_compute:.2f}x",
                f"memory      {self.peak_bytes / 2**20:.0f} MiB per tile at work",
                f"error       {told}",
            ]
        )


def check_halo(halo: Halo, spec: ModelSpec) -> None:
    """Refuse a halo that is neither ``"exact"`` nor a positive multiple of the model's window."""
    w = spec.window
    if halo == "exact" or (isinstance(halo, int) and halo >= w and halo % w == 0):
        return
    raise PlanError(
        f"halo={halo!r} does not fit {spec.name}: give 'exact', or a multiple of its window "
        f"({w} px), such as {2 * w} or {4 * w}. Off the window grid the error never falls."
    )


def _cell_cover(interval: Interval, side: int, offset: int) -> int:
    lo = (interval[0] + offset) // side
    hi = -(-(interval[1] + offset) // side)
    return (hi - lo) * side


def tile_bytes(spec: ModelSpec, rows: int, columns: int, itemsize: int) -> int:
    """Bytes the engine holds for a read region of ``rows`` x ``columns`` pixels.

    Three feature planes (the stage's, its residual, the first features; a fourth of ``num_feat``
    for the high-frequency head), the network's input, the float output, and the working set of
    one cell and one head cell. `tests/test_memory.py` holds it against measured peaks.
    """
    margin = 3 * CELL_WINDOWS * spec.window
    pixels = (rows + margin) * (columns + margin)
    planes = 3 * spec.dim + spec.channels + (spec.num_feat if spec.upsampler == "pixelshuffle_hf" else 0)
    output = 2 * spec.channels * spec.scale**2 * rows * columns
    cell = (CELL_WINDOWS * spec.window) ** 2
    width = max(spec.heads) * spec.window**2 + int((8 + 2 * spec.mlp_ratio) * spec.dim)
    # A head cell is two cells wide; a convolution's result and its shuffled copy are alive together.
    values = spec.num_feat * spec.scale**2 if spec.upsampler not in ("", "pixelshuffledirect") else spec.dim
    head = 2 * values * (2 * CELL_WINDOWS * spec.window + 12) ** 2
    return itemsize * (pixels * planes + output + cell * width + head)
