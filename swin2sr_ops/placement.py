"""Define the placement of a computation: the settings that a request, its tiles and its engines share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from swin2sr_ops.errors import RequestError

__all__ = ["AUTO", "Halo", "Placement", "check_ensemble"]

Halo = int | Literal["exact"]


@dataclass(frozen=True)
class Placement:
    """Device, precision, engine, halo and ensemble as they were asked for; see `swin2sr_ops.restore`.

    ``"auto"`` stays ``"auto"`` here: `swin2sr_ops.engine.runner.Network` resolves it in the process that computes.

    Raises
    ------
    RequestError
        If the ensemble is neither 1 nor 8.
    """

    device: str = "auto"
    precision: str = "auto"
    engine: str = "auto"
    halo: Halo = "exact"
    ensemble: int = 1

    def __post_init__(self) -> None:
        check_ensemble(self.ensemble)


def check_ensemble(ensemble: int, spread: bool = False) -> None:
    """Reject a number of passes other than 1 or 8, and a spread of a single pass."""
    if isinstance(ensemble, bool) or ensemble not in (1, 8):
        raise RequestError(
            f"ensemble={ensemble!r} is not known: give 8, the flips and rotations of a square, or 1, which is none."
        )
    if spread and ensemble == 1:
        raise RequestError("A single pass has no spread: give ensemble=8 with it (--ensemble 8).")


#: Nothing in particular was asked for.
AUTO = Placement()
