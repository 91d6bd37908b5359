"""Compute the read interval along one axis with which a tile equals the same pixels of the whole image.

A Swin network sees a bounded neighbourhood and a window grid fixed at the image's first pixel. So
a tile equals the same pixels of a pass over the whole image if the plan walks its output back
through the layers: a convolution adds its radius, a window layer snaps the interval outwards to
its own grid, and nothing crosses the true borders of the padded image.

A plugin's network runs as a whole, in cells with a halo (`ModelSpec.reach`): a span then reads the
surroundings of those cells.

All positions are pixels of the *input* plane, counted from the first pixel of the whole image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from swin2sr_ops.geometry.steps import CELL_WINDOWS, Interval, cell_spans, network_steps
from swin2sr_ops.placement import Halo
from swin2sr_ops.spec import ModelSpec

__all__ = ["Span", "pad_index", "padded_size", "receptive_halo", "sight", "whole_windows", "within"]


def padded_size(size: int, window: int) -> int:
    """Return the smallest multiple of ``window`` that holds ``size`` pixels."""
    return -(-size // window) * window


def pad_index(start: int, stop: int, size: int) -> list[int]:
    """Map each pixel in ``[start, stop)`` to its source pixel; pixels from ``size`` on are padding.

    Padding reflects the image without repeating the edge, like the networks' ``check_image_size``. If the
    image is too small to reflect that far, the last reflected value is repeated.
    """
    return [i if i < size else max(2 * (size - 1) - i, 0) for i in range(start, stop)]


@dataclass(frozen=True)
class Span:
    """One axis of one tile.

    Attributes
    ----------
    start, stop : int
        Pixels that the tile owns; it writes ``[start * scale, stop * scale)``.
    read : (int, int)
        Interval of the padded image that enters the network; both ends are multiples of the window.
    borders : (int, int)
        Ends of the image as the network sees it: the padded image if exact, else the read interval.
    needed : tuple of (int, int)
        For each step, the interval of its output that later steps read.
    mirrored : Span or None
        The span of the same pixels in the mirrored image, if an ensemble restores that too.
    margin : int
        Pixels on each side that the network computes too, for a step behind it that reads its neighbours.
    wide : Span or None
        The span that the network computes, if there is a margin: `read`, `needed` and `mirrored` are its own.
    """

    start: int
    stop: int
    size: int
    scale: int
    read: Interval
    borders: Interval
    needed: tuple[Interval, ...]
    mirrored: Span | None = None
    margin: int = 0
    wide: Span | None = None

    @classmethod
    def of(
        cls, start: int, stop: int, size: int, spec: ModelSpec, halo: Halo, *, mirror: bool = False, margin: int = 0
    ) -> Span:
        """Plan the span of pixels ``[start, stop)`` of an axis of ``size`` pixels, for either kind of halo."""
        if margin:
            wide = cls.of(max(start - margin, 0), min(stop + margin, size), size, spec, halo, mirror=mirror)
            return replace(wide, start=start, stop=stop, margin=margin, wide=wide)
        if mirror:
            own, other = ((start, stop), (size - stop, size - start))
            return replace(cls.of(*own, size, spec, halo), mirrored=cls.of(*other, size, spec, halo))
        if halo == "exact" or spec.reach is not None:
            return cls.exact(start, stop, size, within(spec, halo))
        return cls.approximate(start, stop, size, spec, int(halo))

    @classmethod
    def exact(cls, start: int, stop: int, size: int, spec: ModelSpec) -> Span:
        """Plan a span whose result is independent of the tile and, where that is known, equals the whole image's."""
        borders = (0, padded_size(size, spec.window if spec.reach is None else spec.reach.multiple))
        first, needed = _walk_back((start, stop), borders, spec)
        return cls(start, stop, size, spec.scale, _snap(first, borders, spec.window, 0), borders, needed)

    @classmethod
    def approximate(cls, start: int, stop: int, size: int, spec: ModelSpec, halo: int) -> Span:
        """Plan a span that sees ``halo`` pixels around (a multiple of the window) and no more."""
        whole = (0, padded_size(size, spec.window))
        read = _snap((start - halo, stop + halo), whole, spec.window, 0)
        _, needed = _walk_back((start, stop), read, spec)
        return cls(start, stop, size, spec.scale, read, read, needed)

    @property
    def network(self) -> Span:
        """The span that the network computes: this one, or `wide`."""
        return self if self.wide is None else self.wide

    @property
    def source(self) -> Interval:
        """Pixels of the real image that fill `read`."""
        index = pad_index(*self.read, self.size)
        return min(index), max(index) + 1

    @property
    def fetched(self) -> Interval:
        """Pixels of the real image that all passes need: `source`, and that of `mirrored`."""
        lo, hi = self.source
        if self.mirrored is not None:
            first, last = self.mirrored.source
            lo, hi = min(lo, self.size - last), max(hi, self.size - first)
        return lo, hi

    @property
    def padding(self) -> list[int]:
        """Position in `source` of each pixel of `read`."""
        first = self.source[0]
        return [i - first for i in pad_index(*self.read, self.size)]

    @property
    def write(self) -> Interval:
        """Output pixels this span owns."""
        return self.start * self.scale, self.stop * self.scale

    def alike(self, spec: ModelSpec) -> Span:
        """Return one representative of all spans with the same computation (not for a plugin's network).

        Such spans differ by whole cells of the head, whose grid begins with the image, and in the distance to borders
        that no step reaches.
        """
        period = 2 * CELL_WINDOWS * spec.window
        first = min(self.read[0], *(lo for lo, _ in self.needed))
        last = max(self.read[1], *(hi for _, hi in self.needed))
        moved = first // period * period
        top, bottom = (edge - moved for edge in self.borders)
        if top <= first - moved - period:
            top = top % period - 2 * period
        if bottom >= last - moved + period:
            bottom = bottom % period + padded_size(last - moved, period) + period
        return Span(
            self.start - moved,
            self.stop - moved,
            bottom,
            self.scale,
            (self.read[0] - moved, self.read[1] - moved),
            (top, bottom),
            tuple((lo - moved, hi - moved) for lo, hi in self.needed),
        )

    def split(self, spec: ModelSpec, halo: Halo) -> tuple[Span, Span]:
        """Split the span in two at a multiple of the window."""
        middle = padded_size((self.start + self.stop) // 2, spec.window)
        middle = middle if self.start < middle < self.stop else (self.start + self.stop) // 2
        first = Span.of(self.start, middle, self.size, spec, halo)
        return first, Span.of(middle, self.stop, self.size, spec, halo)


def _snap(interval: Interval, borders: Interval, window: int, shift: int) -> Interval:
    lo = (interval[0] - shift) // window * window + shift
    hi = -(-(interval[1] - shift) // window) * window + shift
    return max(lo, borders[0]), min(hi, borders[1])


def whole_windows(part: Interval, window: int, offset: int) -> Interval:
    """Widen some rows or columns to whole windows, on the grid that begins at ``-offset``."""
    if part[0] == part[1]:
        return part
    first = (part[0] + offset) // window * window - offset
    count = -((first - part[1]) // window)
    return first, first + count * window


def _walk_back(out: Interval, borders: Interval, spec: ModelSpec) -> tuple[Interval, tuple[Interval, ...]]:
    """Compute the interval of the input, and of each step's output, on which ``out`` depends."""
    needed = []
    for step in reversed(network_steps(spec)):
        needed.append(out)
        if step.kind == "window":
            out = _snap(out, borders, spec.window, step.shift)
        elif step.kind == "whole":
            cells = cell_spans(out, borders, spec)
            out = cells[0].lo, max(cell.hi for cell in cells)
        else:
            out = max(out[0] - step.reach, borders[0]), min(out[1] + step.reach, borders[1])
    return out, tuple(reversed(needed))


def receptive_halo(spec: ModelSpec) -> int:
    """Return the halo of an exact tile: pixels of context on each side, a multiple of the window."""
    seen = sight(spec, "exact")
    return padded_size(max(-seen[0][0], seen[-1][1] - spec.window), spec.window)


def sight(spec: ModelSpec, halo: Halo) -> tuple[Interval, ...]:
    """Compute the receptive field of each pixel of a window far from borders, from the window's first pixel.

    Near a border the receptive field is the same, cropped at the border. Cropping at every step back or
    once at the end gives the same interval, since a step never moves an interval inwards.
    """
    if spec.reach is not None:
        reach = spec.reach.halo if halo == "exact" else int(halo)
        return tuple((i - reach, i + 1 + reach) for i in range(spec.window))
    far = 64 * (sum(spec.depths) + 8) * spec.window  # a position that no border reaches
    reads = [Span.of(far + i, far + i + 1, 2 * far, spec, halo).read for i in range(spec.window)]
    return tuple((lo - far, hi - far) for lo, hi in reads)


def within(spec: ModelSpec, halo: Halo) -> ModelSpec:
    """Return ``spec`` with a plugin's reach limited to ``halo``; any other model stays unchanged."""
    if spec.reach is None or halo in ("exact", spec.reach.halo):
        return spec
    enough = spec.reach.exact and int(halo) >= spec.reach.halo
    return replace(spec, reach=replace(spec.reach, halo=int(halo), exact=enough))
