"""Cache rows for the tile below, so that nothing is computed twice along Y.

Without a cache, a tile reads a halo above itself only to compute again what the tile above has computed. The cache
holds, for every step, the few computed rows that the same step of the next tile reads: about as many, over all
steps, as the halo has. The next tile then starts each layer where the previous tile ended it.

Cached rows are validated. They depend on pixels that the next tile reads as well, so they equal
what it would compute itself if these pixels, the network, columns and borders are the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from swin2sr_ops.geometry.plan import Tile, receptive_halo
from swin2sr_ops.geometry.steps import Interval, network_steps
from swin2sr_ops.spec import ModelSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    #: Of torch's engines, or of ours.
    Array = Tensor | NDArray[np.generic]

__all__ = ["CachedRows", "RowCache"]

#: Planes of `TileWork` that a step reads, within its reach, or adds to.
_READS = {
    "embed": ("before_plane",),  # input of the second trunk; the image, input of the first one, is read again
    "window": ("plane",),
    "merge": ("plane", "residual"),
    "tail": ("plane", "first"),
    "before": ("first",),
    "head": ("first", "before_plane"),
}
#: Planes that hold the step's result afterwards.
_WRITES = {
    "embed": ("first", "plane"),
    "window": ("plane",),
    "merge": ("plane",),
    "tail": ("first",),
    "before": ("before_plane",),
    "head": (),
}


@dataclass
class CachedRows:
    """Rows that one tile leaves, or will have left at its end.

    Attributes
    ----------
    image : Tensor or ndarray
        ``(C, rows, columns)``, the last rows of the tile's input: those that the next tile may read too.
    ends : tuple of int
        For each step, the image row after the last one that it has computed.
    parts : list of dict
        For each step and plane that it reads, the image rows that the next tile needs from this one.
    rows : dict
        Those rows by step and plane: ``(rows, columns, C)``.
    """

    tile: Tile
    image: Array
    ends: tuple[int, ...]
    parts: list[dict[str, Interval]]
    rows: dict[tuple[int, str], Any] = field(default_factory=dict)

    @classmethod
    def of(cls, image: Any, tile: Tile, spec: ModelSpec) -> CachedRows:
        """Create an empty cache of ``tile``, which has read ``image``."""
        steps, needed = network_steps(spec), tile.y.needed
        # Windows are complete, so their rows are those that the previous step must provide.
        ends = tuple(needed[i - 1 if step.kind == "window" else i][1] for i, step in enumerate(steps))
        first = max(tile.y.stop - receptive_halo(spec) - spec.window, tile.y.read[0])
        return cls(tile, _copy(image[:, first - tile.y.read[0] :]), ends, _parts(spec, ends))

    def fits(self, image: Any, tile: Tile) -> bool:
        """Return True if ``tile``, which has read ``image``, is the one below with equal pixels where both read."""
        above, below = self.tile.y, tile.y
        if (above.stop, above.size, above.borders, self.tile.x) != (below.start, below.size, below.borders, tile.x):
            return False
        first, last = below.read[0], above.read[1]
        mine, theirs = self.image[:, first - last :], image[:, : last - first]
        return mine.shape == theirs.shape and mine.dtype == theirs.dtype and bool((mine == theirs).all())

    def lowest(self, spec: ModelSpec) -> int:
        """Return the first row that a step of the next tile reads."""
        return min(end - step.reach for step, end in zip(network_steps(spec), self.ends, strict=True))


@dataclass
class RowCache:
    """Pass cached rows from tile to tile of a run down the columns of its plan; holds the last tile's rows, or none."""

    last: CachedRows | None = None

    def take(self, image: Any, tile: Tile) -> CachedRows | None:
        """Take the rows that the tile above has left for ``tile``; they can be taken only once."""
        last, self.last = self.last, None
        return last if last is not None and last.fits(image, tile) else None


def _copy(values: Any) -> Any:
    return values.clone() if hasattr(values, "clone") else values.copy()


def _parts(spec: ModelSpec, ends: tuple[int, ...]) -> list[dict[str, Interval]]:
    """Compute the rows, by plane, that each step of the next tile reads and that are computed already."""
    made: dict[str, int] = {}  # index of the step whose result a plane holds
    parts: list[dict[str, Interval]] = []
    before = ""
    for index, step in enumerate(network_steps(spec)):
        if step.kind == "window" and before != "window":  # a stage begins
            made["residual"] = made["plane"]
        read = [name for name in _READS[step.kind] if name in made]
        parts.append({name: (ends[index] - step.reach, ends[made[name]]) for name in read})
        made |= dict.fromkeys(_WRITES[step.kind], index)
        before = step.kind
    return parts
