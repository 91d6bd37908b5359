"""Plan exact tiling in integers: tiles, cost and expected error, all known before a run.

`TilePlan` is the grid of tiles of one plane. `swin2sr_ops.geometry.span` computes the read interval of each tile
along each axis. This module imports no array library.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from swin2sr_ops.errors import PlanError
from swin2sr_ops.geometry.back_projection import STEPS, margin_of
from swin2sr_ops.geometry.neighbours import Depth
from swin2sr_ops.geometry.span import Span, pad_index, padded_size, receptive_halo, sight, within
from swin2sr_ops.geometry.steps import CELL_WINDOWS, Interval, cell_side, cell_spans, network_steps
from swin2sr_ops.notebook import facts_table
from swin2sr_ops.placement import AUTO, Halo, Placement
from swin2sr_ops.spec import ModelSpec

__all__ = [
    "CELL_WINDOWS",
    "ITEMSIZE",
    "Span",
    "Tile",
    "TilePlan",
    "cell_bytes",
    "check_halo",
    "may_be_native",
    "pad_index",
    "padded_size",
    "projection_bytes",
    "receptive_halo",
    "sight",
    "tile_bytes",
    "within",
]

#: Bytes per feature value. With bfloat16 two of three planes take 2 bytes, the third and the head take 4.
ITEMSIZE = {"auto": 4, "float32": 4, "float64": 8, "bfloat16": 3}
#: Assumed memory of a plugin's network per pixel of its result: some planes of 64 features in float32.
_PIXEL_BYTES = 1024


@dataclass(frozen=True)
class Tile:
    """One rectangle of one plane: the unit that a task reads, computes and writes.

    ``depth`` holds the planes that it owns and reads if neighbouring planes enter the network.
    """

    y: Span
    x: Span
    depth: Depth | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Owned input pixels, (rows, columns)."""
        return self.y.stop - self.y.start, self.x.stop - self.x.start

    @property
    def network(self) -> Tile:
        """The tile that the network computes: this one, or with the margin that a consistency reads."""
        return self if self.y.wide is None else Tile(self.y.network, self.x.network)

    def __str__(self) -> str:
        return f"y={self.y.start}:{self.y.stop} x={self.x.start}:{self.x.stop}"


@dataclass(frozen=True)
class TilePlan:
    """Cut a plane of ``height`` x ``width`` input pixels into tiles.

    Parameters
    ----------
    spec : ModelSpec
        The model; it sets reach, window and scale.
    height, width : int
        Size of the plane in input pixels.
    tile : (int, int)
        Rows and columns that one task owns, in input pixels.
    placement : Placement
        Its halo is ``"exact"``: the result equals one pass over the whole plane; or a multiple of the window:
        the network sees only so many pixels around a tile, faster and slightly different. Its precision and
        ensemble decide the memory, and its ensemble whether tiles are planned for the mirrored image too.
    streamed : bool
        True if one process runs down each column of tiles and computes nothing twice along Y.

    Raises
    ------
    PlanError
        If the size, tile or halo is impossible.
    """

    spec: ModelSpec
    height: int
    width: int
    tile: tuple[int, int]
    placement: Placement = AUTO
    streamed: bool = False

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise PlanError(f"The image has no pixels along Y or X ({self.height} x {self.width}): nothing to restore.")
        if min(self.tile) < 1:
            raise PlanError(f"Tile {self.tile} must have at least one row and one column.")
        check_halo(self.placement.halo, self.spec)

    def _spans(self, size: int, tile: int) -> tuple[Span, ...]:
        starts = range(0, size, tile)
        spec, halo, mirror = self.spec, self.placement.halo, self.placement.ensemble > 1
        margin = self.margin
        return tuple(Span.of(i, min(i + tile, size), size, spec, halo, mirror=mirror, margin=margin) for i in starts)

    @property
    def margin(self) -> int:
        """Pixels around a tile that a consistency through a blur reads; the network computes them, too."""
        return margin_of(self.placement.consistent, self.spec.scale)

    @cached_property
    def rows(self) -> tuple[Span, ...]:
        """Spans along Y, top to bottom."""
        return self._spans(self.height, self.tile[0])

    @cached_property
    def columns(self) -> tuple[Span, ...]:
        """Spans along X, left to right."""
        return self._spans(self.width, self.tile[1])

    @property
    def axes(self) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
        """`rows` and `columns`."""
        return self.rows, self.columns

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def __iter__(self) -> Any:
        """Iterate over all tiles, column by column, top to bottom."""
        return (Tile(y, x) for x in self.columns for y in self.rows)

    def tile_at(self, number: int) -> Tile:
        """Return the tile at position ``number`` of the iteration."""
        column, row = divmod(number, len(self.rows))
        return Tile(self.rows[row], self.columns[column])

    @property
    def over_read(self) -> float:
        """Pixels that all tiles read, per pixel of the image."""
        rows = sum(s.fetched[1] - s.fetched[0] for s in self.rows)
        columns = sum(s.fetched[1] - s.fetched[0] for s in self.columns)
        return rows * columns / (self.height * self.width)

    @property
    def over_compute(self) -> float:
        """Computed pixels per pixel of the image, averaged over the layers; cells and all passes count."""
        if self.spec.reach is not None:
            spec = within(self.spec, self.placement.halo)
            sides = [
                [
                    cell.hi - cell.lo
                    for s in spans
                    for cell in cell_spans((s.network.start, s.network.stop), s.borders, spec)
                ]
                for spans in self.axes
            ]
            return self.placement.ensemble * sum(sides[0]) * sum(sides[1]) / (self.height * self.width)
        steps = network_steps(self.spec)
        total = 0
        for i, step in enumerate(steps):
            offset, side = step.offset(self.spec.window), self.cell
            needed = [s.needed[i] for s in self.rows]
            if self.streamed:  # except in cells where two tiles meet; native has no cells
                needed = [(needed[0][0], needed[-1][1])]
            rows = sum(_cell_cover(interval, side, offset) for interval in needed)
            total += rows * sum(_cell_cover(s.needed[i], side, offset) for s in self.columns)
        return self.placement.ensemble * total / (len(steps) * self.height * self.width)

    @property
    def cell(self) -> int:
        """Side of the engine's fixed block, in pixels."""
        return cell_side(self.spec)

    @property
    def peak_bytes(self) -> int:
        """Memory that the largest tile takes during computation, in bytes, without the model's weights."""
        rows = max(s.read[1] - s.read[0] for s in self.rows)
        columns = max(s.read[1] - s.read[0] for s in self.columns)
        spec = within(self.spec, self.placement.halo)
        itemsize, ensemble = ITEMSIZE[self.placement.precision], self.placement.ensemble
        native = may_be_native(self.placement)
        need = tile_bytes(spec, rows, columns, itemsize, ensemble, streamed=self.streamed, native=native)
        return max(need, projection_bytes(spec, rows, columns)) if self.margin else need

    @property
    def exact(self) -> bool:
        """True if the result equals one pass over the whole plane."""
        reach = within(self.spec, self.placement.halo).reach
        return self.placement.halo == "exact" if reach is None else reach.exact

    @property
    def halo_pixels(self) -> int:
        """Pixels around a tile that affect its result."""
        return receptive_halo(self.spec) if self.placement.halo == "exact" else int(self.placement.halo)

    @property
    def expected_error(self) -> float | None:
        """Largest error against the whole image, as a fraction of full range; None if it was not measured."""
        if self.exact:
            return 0.0
        known = {int(k): v for k, v in self.spec.halo_error.items() if int(k) <= self.halo_pixels}
        return known[max(known)] if known else None

    def to_dict(self) -> dict[str, Any]:
        """Return the plan's figures as JSON-ready values."""
        return {
            "model": self.spec.name,
            "input": [self.height, self.width],
            "output": [self.height * self.spec.scale, self.width * self.spec.scale],
            "tile": list(self.tile),
            "tiles": len(self),
            "halo": self.placement.halo,
            "halo_pixels": self.halo_pixels,
            "exact": self.exact,
            "over_read": round(self.over_read, 4),
            "over_compute": round(self.over_compute, 4),
            "peak_bytes": self.peak_bytes,
            "expected_error": self.expected_error,
            **({"ensemble": self.placement.ensemble} if self.placement.ensemble > 1 else {}),
            **({"margin": self.margin} if self.margin else {}),
            **({"planes": self.spec.planes} if self.spec.planes > 1 else {}),
        }

    def __str__(self) -> str:
        d, passes, planes = self.to_dict(), self.placement.ensemble, self.spec.planes
        name = self.placement.halo if self.exact or self.placement.halo != "exact" else "the model's own"
        return "\n".join(
            [
                f"model       {d['model']} (x{self.spec.scale})",
                f"input       {self.height} x {self.width} px -> output {d['output'][0]} x {d['output'][1]} px",
                f"tiles       {len(self)} of {self.tile[0]} x {self.tile[1]} px",
                f"halo        {name} ({d['halo_pixels']} px)",
                f"over-read   {self.over_read:.2f}x, over-compute {self.over_compute:.2f}x",
                f"memory      {self.peak_bytes / 2**20:.0f} MiB per tile at work",
                f"error       {self._error}",
                *([f"ensemble    {passes} passes, flips and rotations, averaged"] if passes > 1 else []),
                *([f"planes      {planes} enter for each: neighbours are read, too"] if planes > 1 else []),
                *([f"bound       {STEPS} steps of back-projection, {self.margin} px more"] if self.margin else []),
            ]
        )

    def __repr__(self) -> str:
        rows, columns = self.tile
        size = f"{self.height} x {self.width} px for {self.spec.name}"
        return f"<TilePlan {size}: {len(self)} tiles of {rows} x {columns} px, halo {self.placement.halo}>"

    def _repr_html_(self) -> str:
        return facts_table(f"Plan for {self.spec.name}", self.to_dict())

    @property
    def _error(self) -> str:
        if self.exact:
            return "none, equals one pass over the whole image"
        found = self.expected_error
        bound = "not measured for this model and halo" if found is None else f"at most about {found:.2g} of full range"
        if self.spec.reach is None:
            return bound
        measured = "not measured" if found is None else f"measured error {found:.2g} of full range"
        return f"approximate: {measured} at halo {self.halo_pixels} px; the same pixels from any tiles"


def check_halo(halo: Halo, spec: ModelSpec) -> None:
    """Reject a halo that is neither ``"exact"`` nor a positive multiple of the model's window."""
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


def tile_bytes(
    spec: ModelSpec,
    rows: int,
    columns: int,
    itemsize: int,
    ensemble: int = 1,
    cells: int = 1,
    streamed: bool = False,
    native: bool = False,
    threads: int = 1,
) -> int:
    """Estimate the bytes that the engine holds for a read region of ``rows`` x ``columns`` pixels.

    A plugin's network computes one cell at a time, with its halo; the model states what that takes. `_native_bytes`
    has what the kernels in C hold, with ``threads`` of them.
    Any other network first holds three feature planes (the stage's, its residual, the first features; a
    fourth of ``num_feat`` for the high-frequency head), its input and the working set of ``cells`` cells.
    It then holds one feature plane, the float output and a fourth as many head cells (one and one on a
    CPU; with more cells, on a GPU, another tile's pixels wait beside them).

    With ``streamed`` tiles each plane keeps about a halo's rows for the next tile. The mean of an
    ensemble, its spread and two temporaries are float64. `tests/engine/test_memory.py` compares the
    estimate with measured peaks.
    """
    if ensemble > 1:
        averaged = 4 * 8 * spec.channels * spec.scale**2 * rows * columns
        return averaged + tile_bytes(spec, rows, columns, itemsize, cells=cells, native=native, threads=threads)
    if spec.reach is not None:
        planes = spec.channels * (1 + 2 * spec.scale**2) * rows * columns
        return itemsize * planes + cell_bytes(spec, itemsize, rows * columns)
    if native:
        return _native_bytes(spec, rows, columns, streamed, threads)
    margin = 3 * CELL_WINDOWS * spec.window
    pixels = (rows + margin + (receptive_halo(spec) if streamed else 0)) * (columns + margin)
    beside = spec.inputs + (spec.num_feat if spec.upsampler == "pixelshuffle_hf" else 0)
    output = 2 * spec.channels * spec.scale**2 * rows * columns
    waiting = (spec.inputs + spec.channels * spec.scale**2) * rows * columns if cells > 1 else 0
    cell = (CELL_WINDOWS * spec.window) ** 2
    width = max(spec.heads) * spec.window**2 + int((8 + 2 * spec.mlp_ratio) * spec.dim)
    # A head cell is two cells wide; a convolution's result and its shuffled copy coexist.
    values = spec.num_feat * spec.scale**2 if spec.upsampler not in ("", "pixelshuffledirect") else spec.dim
    head = 2 * values * (2 * CELL_WINDOWS * spec.window + 12) ** 2
    stages = pixels * (3 * spec.dim + beside) + cells * cell * width
    end = pixels * (spec.dim + beside) + output + max(1, cells // 4) * head
    return itemsize * (waiting + max(stages, end))


def projection_bytes(spec: ModelSpec, rows: int, columns: int) -> int:
    """Estimate the bytes that back-projection holds: the result, and three copies in float64."""
    return (8 * 3 + 8) * spec.channels * spec.scale**2 * rows * columns


def may_be_native(placement: Placement) -> bool:
    """Tell whether the kernels in C will compute, as far as a request says it.

    Where they cannot be built, torch takes a head's cells more; where there is a GPU, its plan has another count.
    """
    on_cpu = placement.device in ("auto", "cpu")
    return on_cpu and placement.engine in ("auto", "native") and placement.precision in ("auto", "float32")


def _native_bytes(spec: ModelSpec, rows: int, columns: int, streamed: bool, threads: int) -> int:
    """Estimate what the kernels in C hold: planes with a window's margin, and a head's rows for each thread.

    First three feature planes, with the input and the high-frequency head's plane; then one of them, the result twice,
    and for each thread, of a head of several convolutions, the rows of a part that is 256 pixels wide and 8 high.
    """
    margin = 2 * max(spec.window, 8)
    pixels = (rows + margin + (receptive_halo(spec) if streamed else 0)) * (columns + margin)
    own = spec.planes > 1 and spec.upsampler == ""  # a copy of the plane itself, which this head adds
    beside = spec.inputs + own + (spec.num_feat if spec.upsampler == "pixelshuffle_hf" else 0)
    result = 2 * spec.channels * spec.scale**2 * rows * columns
    if spec.upsampler in ("", "pixelshuffledirect"):
        head = 0
    else:
        at_once = 2 if spec.upsampler in ("nearest+conv", "pixelshuffle_hf") else 1
        part = (8 * spec.scale + 2) * (min(columns, 256) + 6) * spec.scale
        head = spec.num_feat * part * (3 * at_once + 1) // 3  # those at lower resolution are a third of the last
    parts = -(-rows // 128) * -(-columns // 256)
    end = pixels * (spec.dim + beside) + result + min(threads, parts) * head
    return 4 * max(pixels * (3 * spec.dim + beside), end)


def cell_bytes(spec: ModelSpec, itemsize: int, largest: int | None = None) -> int:
    """Estimate the bytes that a plugin's network takes for one cell with its halo, at most ``largest`` pixels."""
    if spec.reach is None:
        raise ValueError(f"{spec.name} does not run in whole cells")
    pixels = (cell_side(spec) + 2 * padded_size(spec.reach.halo, spec.window)) ** 2
    each = spec.reach.pixel_bytes or _PIXEL_BYTES * spec.scale**2
    return each * itemsize // 4 * (pixels if largest is None else min(pixels, largest))
