"""Turn the passes of a self-ensemble back and average them; `swin2sr_ops.geometry.orientations` plans them."""

from __future__ import annotations

from typing import Any

import numpy as np

from swin2sr_ops.geometry.orientations import Turn

__all__ = ["Average", "turn_back"]


def turn_back(result: Any, turn: Turn) -> Any:
    """Turn ``(C, rows, columns)`` of the turned image, an array or a tensor, back to the image's orientation."""
    result = result.swapaxes(1, 2) if turn.swap else result
    axes = tuple(axis for axis, flipped in ((1, turn.rows), (2, turn.columns)) if flipped)
    if not axes:
        return result
    return np.flip(result, axes) if isinstance(result, np.ndarray) else result.flip(axes)


class Average:
    """Mean and standard deviation of the passes, pixel by pixel, in float64 where the device supports it.

    The passes are NumPy arrays, or torch's tensors.
    """

    def __init__(self, spread: bool) -> None:
        self._mean: Any = None
        self._spread = spread
        self._squares: Any = None  # sum of squared distances from the mean (Welford)
        self._count = 0

    def add(self, result: Any, passes: int) -> None:
        """Add a pass; a single pass stays unchanged."""
        self._count += 1
        if passes == 1:
            self._mean = result
            return
        result = _wide(result)
        if self._mean is None:
            self._mean = result
            self._squares = result * 0 if self._spread else None
            return
        gap = result - self._mean
        self._mean += gap / self._count
        if self._squares is not None:
            self._squares += gap * (result - self._mean)

    @property
    def mean(self) -> Any:
        """Mean of all passes added so far."""
        if self._mean is None:
            raise ValueError("no pass was taken")
        return self._mean

    @property
    def spread(self) -> Any:
        """Standard deviation of the passes (root of their mean squared distance from the mean)."""
        return None if self._squares is None else (self._squares / self._count).clip(min=0) ** 0.5


def _wide(result: Any) -> Any:
    """Return a pass of its own in the precision in which passes are averaged."""
    if isinstance(result, np.ndarray):
        return result.astype(np.float64)
    return (result.float() if result.device.type == "mps" else result.double()).clone()
