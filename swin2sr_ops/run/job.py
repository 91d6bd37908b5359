"""Resolve a request to a job: source, models, tiles and output chunks, before anything is computed."""

from __future__ import annotations

import math
from builtins import range as range_of  # `range` is a field of `Job`
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from os import PathLike
from typing import Any, Protocol

from swin2sr_ops.engine.restorer import Restorer
from swin2sr_ops.errors import PlanError, without_secrets
from swin2sr_ops.geometry.axes import AxisOrder, channel_groups
from swin2sr_ops.geometry.neighbours import neighbour_axis
from swin2sr_ops.geometry.plan import Tile, TilePlan
from swin2sr_ops.geometry.steps import Interval
from swin2sr_ops.geometry.tiles import CHUNK, tile_region, tile_size
from swin2sr_ops.hooks.dispatch import open_source
from swin2sr_ops.io.base import ImageInfo, ImageSource, OwnNodataSource, Region
from swin2sr_ops.io.masks import check_mask
from swin2sr_ops.pixels.intensity import RangeRequest, check_dtype
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.finished_range import resolved_range
from swin2sr_ops.run.models import Group, choose_models
from swin2sr_ops.spec import ModelSpec

__all__ = ["Job", "Part", "Piece", "Workers", "prepare"]


@dataclass(frozen=True)
class Part:
    """Planes that are restored in the same way.

    Attributes
    ----------
    plan : TilePlan
        Tiles of one plane. All parts of a job have the same tiles; the halo around them may differ.
    restorer : Restorer or None
        None for opacity, which is enlarged by repeating pixels.
    groups : tuple of tuple of int, or None
        Channels that enter the network together, in its order; None if every plane enters alone.
    """

    plan: TilePlan
    restorer: Restorer | None
    groups: tuple[Group, ...] | None = None


@dataclass(frozen=True)
class Piece:
    """One tile of one plane, or of a few bands: the regions to read and write, and the intensity map."""

    tile: Tile
    read: Region
    write: Region
    map: int
    part: int = 0
    bands: Group | None = None


@dataclass(frozen=True)
class Job:
    """A resolved request: source, models and cut. Nothing is computed yet."""

    source: ImageSource
    order: AxisOrder
    parts: tuple[Part, ...]
    range: RangeRequest
    nodata: float | None
    chunk: tuple[int, int]  # of the output, along Y and X
    shard: tuple[int, int] | None = None
    mask: ImageSource | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)  # axes, level, series, array, nodata, where given
    files: tuple[str, ...] = ()  # inputs beside the source: `RestoreRequest.files`

    @property
    def restorer(self) -> Restorer:
        """Return the restorer of the first part; others exist only if several models restore the bands."""
        return self.restorers[0]

    @property
    def restorers(self) -> tuple[Restorer, ...]:
        """Return the restorers of all parts; opacity has none."""
        return tuple(part.restorer for part in self.parts if part.restorer is not None)

    @property
    def image(self) -> str:
        """Return the address of the image for reports: without passwords and tokens."""
        return without_secrets(self.source.uri)

    @property
    def mask_image(self) -> str | None:
        """Return the address of the mask for reports; None if there is no mask."""
        return None if self.mask is None else without_secrets(self.mask.uri)

    @property
    def plan(self) -> TilePlan:
        """Return the plan of the first part."""
        return self.parts[0].plan

    @property
    def planes(self) -> int:
        """Return the number of planes; each has all tiles of the plan."""
        return math.prod(self.order.shape[a] for a in self.order.planes)

    @property
    def neighbours_along(self) -> str | None:
        """Return the letter of the axis whose neighbouring planes enter; None if every plane enters alone."""
        found = [neighbour_axis(self.order, r.spec, r.placement.along) for r in self.restorers]
        return next((self.order.axes[axis] for axis in found if axis is not None), None)

    @property
    def output(self) -> ImageInfo:
        """Describe the image that will be written."""
        return replace(self.source.info.scaled(self.plan.spec.scale), nodata=self.nodata)

    @property
    def count(self) -> int:
        """Count the pieces: the tiles of all planes, with bands that enter together counted once."""
        if self.parts[0].groups is None:
            return self.planes * len(self.plan)
        groups = sum(len(part.groups or ()) for part in self.parts)
        return self.planes // self.order.shape[self.order.axes.index("C")] * groups * len(self.plan)

    @property
    def pixels(self) -> int:
        """Count the output values: pixels of all planes, times colour samples."""
        return self.planes * self.order.colours * self.plan.height * self.plan.width * self.plan.spec.scale**2

    def map_of(self, channel: int) -> int:
        """Return the number of a channel's intensity map; bands that enter the network together share one."""
        known = [group for part in self.parts for group in part.groups or ()]
        return next((i for i, group in enumerate(known) if channel in group), channel)

    def pieces(self) -> Iterator[Piece]:
        """Iterate over the tiles of all planes in the order in which they are written."""
        return map(self.piece, range_of(self.count))

    def piece(self, number: int) -> Piece:
        """Return the piece at position ``number`` of `pieces`, without creating the ones before it."""
        plane, place = divmod(number, len(self.plan))
        chosen, (band, part, bands) = self._plane(plane)
        return self._piece(self.parts[part].plan.tile_at(place), chosen, self.map_of(band), part, bands)

    def piece_of(self, chosen: Mapping[int, slice], rows: Interval, columns: Interval) -> Piece:
        """Return a box of one plane as a piece, whatever the plan's tiles.

        Parameters
        ----------
        chosen : mapping
            Slices of length 1 along the axes that are not spatial; of bands that go together, the first one's.
        rows, columns : (int, int)
            Start and stop in input pixels.
        """
        order = self.order
        band = 0 if order.channel is None else chosen[order.channel].start
        _, part, bands = next((lead for lead in self._leads if lead[0] == band), (band, 0, None))
        tile = (self.parts[part].restorer or self.restorer).flat_tile(order, rows, columns)
        return self._piece(tile, chosen, self.map_of(band), part, bands)

    def _piece(self, tile: Tile, chosen: Mapping[int, slice], intensity: int, part: int, bands: Group | None) -> Piece:
        order, restorer = self.order, self.parts[part].restorer
        tile = tile if restorer is None else restorer.with_planes(tile, order, chosen)
        write = [chosen.get(a, slice(0, n)) for a, n in enumerate(order.shape)]
        write[order.y], write[order.x] = slice(*tile.y.write), slice(*tile.x.write)
        intensity = 0 if order.channel is None else intensity
        return Piece(tile, tile_region(order, tile, chosen), tuple(write), intensity, part, bands)

    def _plane(self, number: int) -> tuple[dict[int, slice], tuple[int, int, Group | None]]:
        """Return a plane's position along the axes that are not spatial; its channel, its part, and its bands."""
        order, chosen = self.order, {}
        lead: tuple[int, int, Group | None] = (0, 0, None)
        for axis in reversed(order.planes):
            leads = self._leads if axis == order.channel else ()
            number, i = divmod(number, len(leads) or order.shape[axis])
            if axis == order.channel:
                lead = leads[i] if leads else (i, 0, None)
                i = lead[0]
            chosen[axis] = slice(i, i + 1)
        return chosen, lead

    @cached_property
    def _leads(self) -> tuple[tuple[int, int, Group], ...]:
        """First band, part and group of bands that are restored together; empty if every plane is restored alone."""
        return tuple(sorted((g[0], i, g) for i, part in enumerate(self.parts) for g in part.groups or ()))


class Workers(Protocol):
    """The processes that restore: those of a cluster, or this one."""

    def resolve_auto(self, restorers: Sequence[Restorer]) -> int | None:
        """Resolve "auto" in ``restorers`` for these processes; return the bytes that each has for tiles, if known."""
        ...


def prepare(
    src: str | PathLike[str],
    request: RestoreRequest = RestoreRequest(),  # noqa: B008  (a frozen value)
    *,
    memory: int | None = None,
    workers: Workers | None = None,
) -> Job:
    """Resolve a request for one image: open the source, choose the models, plan the tiles.

    Parameters
    ----------
    src : str or path
        As in `swin2sr_ops.restore_image`.
    request : RestoreRequest
        The settings.
    memory : int, optional
        Memory for tiles, in bytes.
    workers : Workers, optional
        Processes of the cluster that will restore: they resolve "auto", and tiles fit the memory of each of them.
    """
    intensity = resolved_range(RangeRequest.parse(request.range), request.array)
    source = open_source(src, axes=request.axes, level=request.level, series=request.series, array=request.array)
    if request.nodata is not None and isinstance(source, OwnNodataSource):
        source = source.with_nodata(request.nodata)
    info = source.info
    check_dtype(info.dtype)
    order = AxisOrder.of(info.shape, info.axes, last_c_is_colour=request.axes is not None)
    mask = None if request.mask is None else open_source(request.mask)
    if mask is not None:
        check_mask(mask.info, order)
    chosen = choose_models(request.model, request.scale, info, order)
    if chosen[0][0] is not None:
        order = order.banded(chosen[0][0].channels)
    cut = _Cut(*(None if size is None else tile_size(size) for size in (request.chunks, request.shards)))
    restorers = [None if spec is None else Restorer.at(spec, request.placement) for spec, _ in chosen]
    for restorer in restorers:
        if restorer is not None:
            restorer.check_axes(order)
    if workers is not None:
        room = workers.resolve_auto([r for r in restorers if r is not None])
        memory = room if memory is None else memory
    groups = [group for _, group in chosen]
    parts, chunk = _parts(restorers, groups, order, request.tile, cut, memory, workers is None)
    nodata = info.nodata if request.nodata is None else request.nodata
    given = {"axes": request.axes, "level": request.level, "series": request.series, "array": request.array}
    reading: dict[str, Any] = {name: value for name, value in given.items() if value not in (None, 0)}
    if request.nodata is not None:
        reading["nodata"] = request.nodata
    return Job(source, order, parts, intensity, nodata, chunk, cut.shards, mask, reading, request.files)


@dataclass(frozen=True)
class _Cut:
    """Output chunks and shards of the request, along Y and X."""

    chunks: tuple[int, int] | None
    shards: tuple[int, int] | None

    @property
    def unit(self) -> tuple[int, int] | None:
        """Return the unit that a tile must own whole; None if the plan may choose."""
        return self.shards or self.chunks


def _parts(
    restorers: Sequence[Restorer | None],
    groups: Sequence[tuple[Group, ...] | None],
    order: AxisOrder,
    tile: int | tuple[int, int] | None,
    cut: _Cut,
    memory: int | None,
    in_order: bool,
) -> tuple[tuple[Part, ...], tuple[int, int]]:
    """Plan all parts on one tile grid, the smallest that any model needs; also return the output's chunks."""
    height, width = order.shape[order.y], order.shape[order.x]
    cuts = [
        None if r is None else partial(r.plan, height, width, in_order=in_order and _at_once(r.spec, order, group))
        for r, group in zip(restorers, groups, strict=True)
    ]
    plans = [cut_in(tile, memory) for cut_in in cuts if cut_in is not None]
    scale = plans[0].spec.scale
    sides = [
        _align(min(p.tile[i] for p in plans), (height, width)[i], scale, cut.unit and cut.unit[i], tile) for i in (0, 1)
    ]
    fitted = [None if cut_in is None else cut_in((sides[0][0], sides[1][0])) for cut_in in cuts]
    lead = next(p for p in fitted if p is not None)
    parts = tuple(Part(p or lead, r, g) for p, r, g in zip(fitted, restorers, groups, strict=True))
    return parts, cut.chunks or (sides[0][1], sides[1][1])


def _at_once(spec: ModelSpec, order: AxisOrder, groups: tuple[Group, ...] | None) -> bool:
    """Tell whether a network runs once per piece: separate channels would evict each other from the row cache."""
    return all(len(channel_groups(n, spec.channels)) == 1 for n in (map(len, groups) if groups else [order.colours]))


def _align(tile: int, size: int, scale: int, unit: int | None, given: object) -> tuple[int, int]:
    """Fit tile and output chunk to each other, so that every tile owns whole chunks, or shards (law 2)."""
    wanted = unit or CHUNK
    step = wanted // math.gcd(wanted, scale)
    if tile >= size:
        return size, wanted
    if given is None and (tile >= step or unit is not None):
        return min(max(tile // step, 1) * step, size), wanted
    if unit is not None and tile % step:
        raise PlanError(
            f"Tiles of {tile} px become {tile * scale} px, which is not a multiple of the chunks or shards of {unit}"
            f" px: give a tile that is a multiple of {step}, or omit it."
        )
    out = tile * scale
    divisors = [d for d in range_of(128, CHUNK + 1) if out % d == 0]
    return tile, unit or max(divisors, default=out)
