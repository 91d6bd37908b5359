"""Define the placement of a computation: the settings that a request, its tiles and its engines share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from swin2sr_ops.errors import RequestError

__all__ = ["AUTO", "Consistency", "Halo", "Placement"]

Halo = int | Literal["exact"]


@dataclass(frozen=True)
class Placement:
    """Device, precision, engine, halo, ensemble and consistency as they were asked for; see `swin2sr_ops.restore`.

    ``"auto"`` stays ``"auto"`` here: `swin2sr_ops.engine.runner.Network` resolves it in the process that computes.

    Raises
    ------
    RequestError
        If the ensemble is neither 1 nor 8, or the consistency is not understood.
    """

    device: str = "auto"
    precision: str = "auto"
    engine: str = "auto"
    halo: Halo = "exact"
    ensemble: int = 1
    consistent: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.ensemble, bool) or self.ensemble not in (1, 8):
            raise RequestError(
                f"ensemble={self.ensemble!r} is not valid: give 8 (all flips and rotations of a square) or 1 (none)."
            )
        Consistency.parse(self.consistent)

    def check_spread(self) -> None:
        """Raise a `RequestError` if there is a single pass, whose results have no spread."""
        if self.ensemble == 1:
            raise RequestError("The spread needs an ensemble: give ensemble=8 with it (--ensemble 8).")


@dataclass(frozen=True)
class Consistency:
    """Bind a result to its input: the mean of the new pixels of a pixel is that pixel, within ``noise``.

    Examples
    --------
    >>> Consistency.parse("mean,noise=12")
    Consistency(noise=12.0)
    """

    noise: float = 0.0

    @classmethod
    def parse(cls, text: str | None) -> Consistency | None:
        """Read ``"mean"`` or ``"mean,noise=N"``, N in stored units; None is no consistency.

        Raises
        ------
        RequestError
            For anything else.
        """
        if text is None:
            return None
        kind, _, rest = text.partition(",") if isinstance(text, str) else ("", "", "")
        name, _, number = rest.partition("=")
        try:
            noise = float(number) if name.strip() == "noise" else 0.0
        except ValueError:
            noise = math.nan
        if kind.strip() != "mean" or (rest and name.strip() != "noise") or not 0 <= noise < math.inf:
            raise RequestError(
                f"consistent={text!r} is not understood: give 'mean' (the new pixels of a pixel have its value as their"
                " mean), or 'mean,noise=N', which lets the mean be off by N stored units."
            )
        return cls(noise)


#: The defaults.
AUTO = Placement()
