"""Detect structured noise: noise that neighbouring pixels share, which blind-spot training and SURE would keep."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Structure", "structure_of"]

#: Correlation from which neighbours share their noise. White noise of a few patches shows less than 0.02; what a
#: network leaves of edges in its residuals shows up to about 0.1.
_SHARED = 0.15


@dataclass(frozen=True)
class Structure:
    """Autocorrelation of noise at a distance of one pixel (or two or three, if it is larger there).

    Attributes
    ----------
    along_rows, along_columns : float
        Between horizontal, and between vertical neighbours; 0 for white noise, 1 for constant lines.
    """

    along_rows: float
    along_columns: float

    @property
    def found(self) -> bool:
        """True if neighbours share noise."""
        return max(self.along_rows, self.along_columns) >= _SHARED

    def __str__(self) -> str:
        shares = f"{self.along_rows:.2f} along rows, {self.along_columns:.2f} along columns"
        return f"correlation of the noise between neighbouring pixels: {shares}" + (
            " (structured noise)" if self.found else " (as good as none)"
        )


def structure_of(residuals: Iterable[NDArray[np.floating]]) -> Structure:
    """Measure the autocorrelation of residuals ``(..., H, W)``: differences of repeats, or what a network removed."""
    power, rows, columns = 0.0, np.zeros(3), np.zeros(3)
    for residual in residuals:
        planes = residual.reshape(-1, *residual.shape[-2:]).astype(np.float64)
        planes = planes - planes.mean((1, 2), keepdims=True)
        power += float((planes**2).mean())
        for lag in (1, 2, 3):
            rows[lag - 1] += float((planes[:, :, lag:] * planes[:, :, :-lag]).mean())
            columns[lag - 1] += float((planes[:, lag:] * planes[:, :-lag]).mean())
    if power == 0:
        return Structure(0.0, 0.0)
    return Structure(float(rows.max() / power), float(columns.max() / power))
