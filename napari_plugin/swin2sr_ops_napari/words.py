"""The form's words for intensity ranges and axes. No Qt."""

from __future__ import annotations

from collections.abc import Sequence

from swin2sr_ops.errors import RequestError
from swin2sr_ops.hosting import RangeRequest

__all__ = ["DISPLAYED", "NUMBERS", "RANGES", "guesses", "range_of", "sizes"]

DISPLAYED, NUMBERS = "as displayed", "two numbers ..."
#: Lines of the box, and what `swin2sr_ops.restore` takes for them.
RANGES = {"whole range": "auto", "ignore the brightest 0.2 %": "p0,p99.8", DISPLAYED: "", NUMBERS: ""}
_GUESSES = {
    (3, False): ("ZYX", "TYX", "CYX"),
    (4, False): ("TZYX", "CZYX", "TCYX", "ZCYX"),
    (5, False): ("TCZYX", "TZCYX"),
    (3, True): ("ZYXS", "TYXS"),
    (4, True): ("TZYXS", "CZYXS", "TCYXS"),
}


def range_of(text: str, limits: Sequence[float]) -> str:
    """Return the range that a line of the box stands for.

    Parameters
    ----------
    text : str
        A line of the list, or what the person typed.
    limits : (float, float)
        The layer's contrast limits.

    Raises
    ------
    RequestError
        The text is neither.
    """
    text = text.strip()
    if text in (DISPLAYED, "contrast limits"):
        return f"{limits[0]:g},{limits[1]:g}"
    wanted = RANGES.get(text, text).replace(";", ",").replace(" ", "") or "auto"
    try:
        RangeRequest.parse(wanted)
    except RequestError:
        raise RequestError(
            f"{text!r} is not an intensity range: choose a line of the box 'Intensity range', or write two rising"
            " numbers such as 0,4095."
        ) from None
    return wanted


def guesses(ndim: int, rgb: bool) -> tuple[str, ...]:
    """Return what unnamed axes may be, the likeliest first."""
    return _GUESSES.get((ndim, rgb), ())


def sizes(axes: str, shape: Sequence[int]) -> str:
    """Say which axis is taken for what, such as "T = 5, Y = 512, X = 640"."""
    names = {"T": "time T", "C": "channel C", "Z": "depth Z"}
    return ", ".join(f"{names.get(a, a)} = {n}" for a, n in zip(axes, shape, strict=False) if a != "S")
