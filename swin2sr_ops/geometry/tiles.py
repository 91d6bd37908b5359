"""Map a plan to a real image: the region that a tile reads, and the largest tile that fits in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import index

from swin2sr_ops.errors import PlanError
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.geometry.back_projection import margin_of
from swin2sr_ops.geometry.plan import ITEMSIZE, Span, Tile, may_be_native, projection_bytes, tile_bytes, within
from swin2sr_ops.geometry.steps import cell_side
from swin2sr_ops.placement import AUTO, Placement
from swin2sr_ops.spec import ModelSpec

__all__ = [
    "CHUNK",
    "FILL_REACH",
    "LARGEST_TILE",
    "MEMORY_SHARE",
    "fit_tile",
    "source_interval",
    "tile_region",
    "tile_size",
]

#: Depth in pixels to which a hole is filled from its rim. The bound makes a tile fill it like the whole image.
FILL_REACH = 8
#: Share of the free memory that tiles may take.
MEMORY_SHARE = 0.5
#: Largest side of an automatic tile, in input pixels: the halo of larger tiles is cheap already.
LARGEST_TILE = 1024
#: Side of an output chunk in pixels, if the tile allows it.
CHUNK = 512


def tile_size(tile: int | Sequence[int], name: str = "tile") -> tuple[int, int]:
    """Return the rows and columns of a tile, or another rectangle, that is given as one number or two."""
    try:
        if isinstance(tile, Sequence):
            rows, columns = (index(n) for n in tile)
            return rows, columns
        return index(tile), index(tile)
    except (TypeError, ValueError) as exc:
        raise PlanError(f"{name}={tile!r} is not understood: give one whole number, or two (rows, columns).") from exc


def source_interval(span: Span) -> tuple[int, int]:
    """Return the pixels of the real image to read: the network's, and those that fill holes."""
    lo, hi = span.fetched
    return max(lo - FILL_REACH, 0), min(hi + FILL_REACH, span.size)


def tile_region(order: AxisOrder, tile: Tile, planes: Mapping[int, slice] | None = None) -> tuple[slice, ...]:
    """Return the source region that `Restorer.restore_tile` expects, of all planes or those in ``planes``.

    Along the axis of a tile's depth these are the planes that it reads.
    """
    region = [slice(0, n) for n in order.shape]
    for axis, span in ((order.y, tile.y), (order.x, tile.x)):
        region[axis] = slice(*source_interval(span))
    for axis, chosen in (planes or {}).items():
        region[axis] = chosen
    if tile.depth is not None:
        region[tile.depth.axis] = slice(*tile.depth.read)
    return tuple(region)


def fit_tile(
    spec: ModelSpec,
    size: tuple[int, int],
    memory: int,
    placement: Placement = AUTO,
    cells: int = 1,
    streamed: bool = False,
    threads: int = 1,
) -> tuple[int, int]:
    """Find the largest tile, in input pixels, whose working set fits a share of ``memory`` bytes.

    Its sides are multiples of the engine's cell, at most `LARGEST_TILE`, or twice that if the device computes many
    ``cells`` at once, and no larger than the image needs. With ``streamed`` columns only the overlap along X costs, so
    tiles are up to twice as wide and half as high.

    Raises
    ------
    PlanError
        If not even the smallest tile fits.
    """
    spec = within(spec, placement.halo)
    step = cell_side(spec)
    side = max(LARGEST_TILE * (1 if cells == 1 else 2) // step, 1) * step
    budget, margin = memory * MEMORY_SHARE, margin_of(placement.consistent, spec.scale)
    while True:
        tile = tuple(min(side, -(-n // step) * step) for n in size)
        if streamed:  # as many pixels, but wider; the output's chunks keep their height
            wide = min(side * side // max(side // 2, min(side, CHUNK)) // step * step, -(-size[1] // step) * step)
            tile = min(side * side // wide // step * step, -(-size[0] // step) * step), wide
        read = []
        for n, t in zip(size, tile, strict=True):
            middle = min(max((n - t) // 2, 0), max(n - 1, 0))
            span = Span.of(middle, min(middle + t, n), n, spec, placement.halo, margin=margin)
            read.append(span.read[1] - span.read[0])
        need = tile_bytes(
            spec, read[0], read[1], ITEMSIZE[placement.precision], placement.ensemble, cells, streamed,
            native=cells == 1 and may_be_native(placement), threads=threads,
        )  # fmt: skip
        need = max(need, projection_bytes(spec, read[0], read[1])) if margin else need
        if need <= budget:
            return tile[0], tile[1]
        if side <= step:
            raise PlanError(
                f"A tile of {step} x {step} px of {spec.name} needs {need / 2**20:.0f} MiB, and only "
                f"{budget / 2**20:.0f} MiB of {memory / 2**20:.0f} MiB free memory may be used. Free some, or give "
                f"halo={_cheaper(spec)} and a smaller model."
            )
        side = max(side // 2 // step, 1) * step


def _cheaper(spec: ModelSpec) -> int:
    """Return a halo that costs less than the exact one."""
    return -(-16 // spec.window) * spec.window
