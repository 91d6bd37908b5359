"""Turn the passes of a self-ensemble back and average them; `swin2sr_ops.geometry.orientations` plans them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swin2sr_ops.geometry.orientations import Turn

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Average", "turn_back"]


def turn_back(result: Tensor, turn: Turn) -> Tensor:
    """Turn ``(C, rows, columns)`` of the turned image back to the image's orientation."""
    result = result.transpose(1, 2) if turn.swap else result
    axes = [axis for axis, flipped in ((1, turn.rows), (2, turn.columns)) if flipped]
    return result.flip(axes) if axes else result


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
