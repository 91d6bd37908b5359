"""Nothing twice along Y: what a tile leaves for the one below it.

A tile reads a halo above itself only to compute once more what the tile there has computed. Kept instead is, of what
every step reads, the few rows that the same step of the next tile looks at and that are computed already: about as
many, all steps together, as the halo has. The next tile then begins each layer where the last one ended it.

That kept rows fit is not believed but looked at. They follow from pixels that the next tile reads as well, so they
are what it would compute itself if these pixels are the same, and network, columns and borders are.
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

__all__ = ["Carry", "Kept"]

#: The planes of `TileWork` that a step reads, as far as its reach goes, or adds to.
_READS = {
    "embed": ("before_plane",),  # where that starts the second trunk; the first one's image is read again
    "window": ("plane",),
    "merge": ("plane", "residual"),
    "tail": ("plane", "first"),
    "before": ("first",),
    "head": ("first", "before_plane"),
}
#: Those that hold its result then.
_WRITES = {
    "embed": ("first", "plane"),
    "window": ("plane",),
    "merge": ("plane",),
    "tail": ("first",),
    "before": ("before_plane",),
    "head": (),
}


@dataclass
class Kept:
    """What one tile leaves, or will have left when it is done.

    Attributes
    ----------
    image : Tensor or ndarray
        ``(C, rows, columns)``, the last rows of what the tile read: those that the next one may read too.
    ends : tuple of int
        For each step, the row of the image behind the last one that it has computed.
    parts : list of dict
        For each step and plane that it reads, which rows of the image the next tile needs of this one.
    rows : dict
        These, by step and plane: ``(rows, columns, C)``.
    """

    tile: Tile
    image: Array
    ends: tuple[int, ...]
    parts: list[dict[str, Interval]]
    rows: dict[tuple[int, str], Any] = field(default_factory=dict)

    @classmethod
    def of(cls, image: Any, tile: Tile, spec: ModelSpec) -> Kept:
        """Nothing yet of ``tile``, which has read ``image``."""
        steps, needed = network_steps(spec), tile.y.needed
        # Windows are computed whole: their rows are those that the step before has to give.
        ends = tuple(needed[i - 1 if step.kind == "window" else i][1] for i, step in enumerate(steps))
        first = max(tile.y.stop - receptive_halo(spec) - spec.window, tile.y.read[0])
        return cls(tile, _copy(image[:, first - tile.y.read[0] :]), ends, _parts(spec, ends))

    def fits(self, image: Any, tile: Tile) -> bool:
        """Whether ``tile``, which has read ``image``, is the one below, of the same image as far as both look."""
        above, below = self.tile.y, tile.y
        if (above.stop, above.size, above.borders, self.tile.x) != (below.start, below.size, below.borders, tile.x):
            return False
        first, last = below.read[0], above.read[1]
        mine, theirs = self.image[:, first - last :], image[:, : last - first]
        return mine.shape == theirs.shape and mine.dtype == theirs.dtype and bool((mine == theirs).all())

    def lowest(self, spec: ModelSpec) -> int:
        """The first row that a step of the next tile reads."""
        return min(end - step.reach for step, end in zip(network_steps(spec), self.ends, strict=True))


@dataclass
class Carry:
    """From tile to tile of a run that goes down the columns of its plan; the last tile's rows, or none."""

    last: Kept | None = None

    def take(self, image: Any, tile: Tile) -> Kept | None:
        """What the tile above has left for ``tile``; nobody else gets it."""
        last, self.last = self.last, None
        return last if last is not None and last.fits(image, tile) else None


def _copy(values: Any) -> Any:
    return values.clone() if hasattr(values, "clone") else values.copy()


def _parts(spec: ModelSpec, ends: tuple[int, ...]) -> list[dict[str, Interval]]:
    """Rows that each step of the next tile reads and that are computed already, by plane."""
    made: dict[str, int] = {}  # the step whose result a plane holds
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
