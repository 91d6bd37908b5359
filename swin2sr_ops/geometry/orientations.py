"""Self-ensemble: restore the image in its eight orientations, turn the eight results back and average them.

The method is the "enhanced prediction" of Timofte et al., "Seven ways to improve example-based single
image super resolution", 2016. A mirrored image is another image: its windows and cells begin at its own
first pixel, which is the last pixel of the original. A tile therefore has a second span along each axis,
of the mirrored image (`Span.mirrored`), and the average is as independent of the tiles as a single pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.plan import Span, Tile

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["STRAIGHT", "Average", "Turn", "check_ensemble", "turns"]


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

    def back(self, result: Tensor) -> Tensor:
        """Turn ``(C, rows, columns)`` of the turned image back to the image's orientation."""
        result = result.transpose(1, 2) if self.swap else result
        axes = [axis for axis, flipped in ((1, self.rows), (2, self.columns)) if flipped]
        return result.flip(axes) if axes else result


def _mirrored(span: Span) -> Span:
    if span.mirrored is None:
        raise ValueError(f"{span} is not planned for an ensemble")
    return span.mirrored


STRAIGHT = Turn()
_EIGHT = tuple(Turn(*flags) for flags in product((False, True), repeat=3))


def turns(ensemble: int) -> tuple[Turn, ...]:
    """List the passes of an ensemble, the unturned image first."""
    return (STRAIGHT,) if ensemble == 1 else _EIGHT


def check_ensemble(ensemble: int, spread: bool = False) -> int:
    """Reject a number of passes other than 1 or 8, and a spread of a single pass."""
    if isinstance(ensemble, bool) or ensemble not in (1, 8):
        raise RequestError(
            f"ensemble={ensemble!r} is not known: give 8, the flips and rotations of a square, or 1, which is none."
        )
    if spread and ensemble == 1:
        raise RequestError("A single pass has no spread: give ensemble=8 with it (--ensemble 8).")
    return int(ensemble)


class Average:
    """Mean and standard deviation of the passes, pixel by pixel, in float64 where the device supports it."""

    def __init__(self, spread: bool) -> None:
        self._mean: Tensor | None = None
        self._spread = spread
        self._squares: Tensor | None = None  # sum of squared distances from the mean (Welford)
        self._count = 0

    def add(self, result: Tensor, passes: int) -> None:
        """Add a pass; a single pass stays unchanged."""
        import torch

        self._count += 1
        if passes == 1:
            self._mean = result
            return
        result = result.to(torch.float32 if result.device.type == "mps" else torch.float64)
        if self._mean is None:
            self._mean = result.clone()
            self._squares = torch.zeros_like(result) if self._spread else None
            return
        gap = result - self._mean
        self._mean += gap / self._count
        if self._squares is not None:
            self._squares += gap * (result - self._mean)

    @property
    def mean(self) -> Tensor:
        """Mean of all passes added so far."""
        if self._mean is None:
            raise ValueError("no pass was taken")
        return self._mean

    @property
    def spread(self) -> Tensor | None:
        """Standard deviation of the passes (root of their mean squared distance from the mean)."""
        return None if self._squares is None else (self._squares / self._count).clamp(min=0).sqrt()
