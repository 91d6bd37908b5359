"""Define the placement of a computation: the settings that a request, its tiles and its engines share."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from swin2sr_ops.errors import RequestError

__all__ = ["AUTO", "Consistency", "Halo", "Placement"]

Halo = int | Literal["exact"]


@dataclass(frozen=True)
class Placement:
    """Device, precision, engine, halo, ensemble, consistency and axis of neighbouring planes as they were asked for.

    See `swin2sr_ops.restore`.

    ``"auto"`` stays ``"auto"`` here: `swin2sr_ops.engine.runner.Network` resolves it in the process that computes.

    Raises
    ------
    RequestError
        If the ensemble is neither 1 nor 8, or the consistency or the axis is not understood.
    """

    device: str = "auto"
    precision: str = "auto"
    engine: str = "auto"
    halo: Halo = "exact"
    ensemble: int = 1
    consistent: str | None = None
    along: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.ensemble, bool) or self.ensemble not in (1, 8):
            raise RequestError(
                f"ensemble={self.ensemble!r} is not valid: give 8 (all flips and rotations of a square) or 1 (none)."
            )
        found = Consistency.parse(self.consistent)
        if found is not None and found.kernel:  # workers and outputs need the weights, not the file
            object.__setattr__(self, "consistent", str(found))
        if self.along is not None:
            letter = self.along.upper() if isinstance(self.along, str) else ""
            if len(letter) != 1 or not letter.isalpha() or letter in "YXCS":
                raise RequestError(
                    f"along={self.along!r} is not an axis of neighbouring planes: give its letter, such as 'Z' or 'T'."
                )
            object.__setattr__(self, "along", letter)

    def with_views(self, views: int) -> Placement:
        """Return the placement with an ensemble of ``views`` if it has none; ``model="best"`` states 8."""
        return replace(self, ensemble=views) if self.ensemble == 1 else self

    def check_spread(self) -> None:
        """Raise a `RequestError` if there is a single pass, whose results have no spread."""
        if self.ensemble == 1:
            raise RequestError("The spread needs an ensemble: give ensemble=8 with it (--ensemble 8).")


@dataclass(frozen=True)
class Consistency:
    """Bind a result to its input: blurred and sampled, it gives the input within ``noise``.

    Attributes
    ----------
    noise : float
        Allowed deviation in stored units.
    psf : float
        Standard deviation of a Gaussian blur in input pixels, before the pixel's area averages; 0: the mean alone.
    kernel : tuple of float
        Weights of the new pixels around an input pixel along each axis, in place of the Gaussian and the area.

    Examples
    --------
    >>> Consistency.parse("mean,noise=12")
    Consistency(noise=12.0, psf=0.0, kernel=())
    >>> Consistency.parse("psf=0.4").psf
    0.4
    """

    noise: float = 0.0
    psf: float = 0.0
    kernel: tuple[float, ...] = ()

    @classmethod
    def parse(cls, text: str | None) -> Consistency | None:
        """Read ``"mean"``, ``"psf=SIGMA"`` or ``"kernel=W/W/W"`` (or a file of weights), each with ``",noise=N"``.

        None is no consistency.

        Raises
        ------
        RequestError
            For anything else.
        """
        if text is None:
            return None
        kind, allowed = _without_noise(text) if isinstance(text, str) else ("", "")
        name, _, value = (part.strip() for part in kind.partition("="))
        kernel = _weights(value) if name == "kernel" and value else ()
        try:
            noise, psf = float(allowed), float(value) if name == "psf" else 0.0
        except ValueError:
            noise = psf = math.nan
        known = kind.strip() == "mean" or (name == "psf" and 0 < psf < math.inf) or (name == "kernel" and kernel)
        if not known or not 0 <= noise < math.inf:
            raise RequestError(
                f"consistent={text!r} is not understood: give 'mean' (the new pixels of a pixel have its value as their"
                " mean), 'psf=SIGMA' (blurred by a Gaussian of SIGMA input pixels they have it), or 'kernel=W/W/W' or"
                " 'kernel=FILE' (with these weights they have it); ',noise=N' behind it lets the value be off by N"
                " stored units."
            )
        return cls(noise, psf, kernel)

    def __str__(self) -> str:
        """Return the text that `parse` reads, without a file's name."""
        how = "kernel=" + "/".join(f"{w!r}" for w in self.kernel) if self.kernel else f"psf={self.psf!r}"
        return ("mean" if not self.kernel and not self.psf else how) + (f",noise={self.noise!r}" if self.noise else "")


def kernel_file(consistent: str | None) -> str | None:
    """Return the file that ``"kernel=FILE"`` names; None if there is none.

    Examples
    --------
    >>> kernel_file("kernel=psf.txt,noise=3"), kernel_file("kernel=1/4/1"), kernel_file("mean")
    ('psf.txt', None, None)
    """
    if not isinstance(consistent, str):
        return None
    name, _, value = (part.strip() for part in _without_noise(consistent)[0].partition("="))
    return value if name == "kernel" and not all(map(_is_number, value.split("/"))) else None


def _without_noise(text: str) -> tuple[str, str]:
    """Split ``"mean,noise=3"`` into ``"mean"`` and ``"3"``; without noise it is ``"0"``."""
    kind, comma, rest = text.rpartition(",")
    name, _, allowed = rest.partition("=")
    return (kind, allowed) if comma and name.strip() == "noise" else (text, "0")


def _weights(text: str) -> tuple[float, ...]:
    """Read weights from a text or from the file that it names.

    Raises
    ------
    RequestError
        If they cannot blur along an axis: not numbers, negative, not symmetric.
    """
    try:
        read = text.split("/")
        if not all(_is_number(part) for part in read):
            with open(text, encoding="utf-8") as file:
                read = file.read(100_000).replace(",", " ").split()
        weights = tuple(float(part) for part in read)
    except (OSError, ValueError) as exc:
        raise RequestError(
            f"The kernel {text!r} cannot be read ({exc}): give weights such as 1/4/4/1, or a text file that holds them."
        ) from exc
    largest = max(weights, default=0.0)
    finite = all(0 <= w < math.inf for w in weights) and largest > 0
    if not finite or any(abs(a - b) > 1e-3 * largest for a, b in zip(weights, weights[::-1], strict=True)):
        raise RequestError(
            f"The kernel {text!r} must be one row of weights that are not negative, the same from both ends: the blur"
            " of the image along each axis, in new pixels, such as 1/4/4/1."
        )
    return weights


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


#: The defaults.
AUTO = Placement()
