"""Self-ensemble: restore the image in its eight orientations, turn the eight results back and average them.

The method is the "enhanced prediction" of Timofte et al., "Seven ways to improve example-based single
image super resolution", 2016. A mirrored image is another image: its windows and cells begin at its own
first pixel, which is the last pixel of the original. A tile therefore has a second span along each axis,
of the mirrored image (`Span.mirrored`), and the average is as independent of the tiles as a single pass.
`swin2sr_ops.engine.ensemble` turns the results back and averages them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from swin2sr_ops.geometry.plan import Span, Tile

__all__ = ["STRAIGHT", "Turn", "turns"]


@dataclass(frozen=True)
class Turn:
    """One of the eight orientations: rows mirrored, columns mirrored, then rows and columns swapped."""

    rows: bool = False
    columns: bool = False
    swap: bool = False

    def tile(self, tile: Tile) -> Tile:
        """Return the tile that covers the same pixels in the turned image."""
        y = _mirrored(tile.y) if self.rows else tile.y
        x = _mirrored(tile.x) if self.columns else tile.x
        return Tile(x, y) if self.swap else Tile(y, x)


def _mirrored(span: Span) -> Span:
    if span.mirrored is None:
        raise ValueError(f"{span} is not planned for an ensemble")
    return span.mirrored


STRAIGHT = Turn()
_EIGHT = tuple(Turn(*flags) for flags in product((False, True), repeat=3))


def turns(ensemble: int) -> tuple[Turn, ...]:
    """List the passes of an ensemble, the unturned image first."""
    return (STRAIGHT,) if ensemble == 1 else _EIGHT
