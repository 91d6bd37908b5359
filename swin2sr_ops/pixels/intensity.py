"""Map pixel values to the network's range and back (law 3).

A network expects 0..1. The map from stored values to 0..1 is affine. It is chosen once for the whole
image, is the same for every tile, and is inverted on output; values are clipped only at the limits
of the storage type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from swin2sr_ops.errors import RequestError

__all__ = [
    "IntensityMap",
    "RangeRequest",
    "check_dtype",
    "check_width",
    "computed_in",
    "range_limits",
]


_SUPPORTED = ("uint8", "uint16", "int8", "int16", "float16", "float32", "float64")


#: The reason why a kind of number is rejected, and the remedy.
_REFUSED = {
    "b": "there are no values between true and false. Enlarge a mask or labels by nearest neighbour; "
    "a picture of two values can be given as uint8",
    "c": "the networks process brightness and ignore phase. Restore the magnitude, or the real and the imaginary part "
    "apart, as floats",
    "iu": "float32 arithmetic distinguishes only 24 bits of an integer. Give uint16 if the values fit, or a float "
    "type if their last bits do not matter; labels are enlarged by nearest neighbour",
    "f": "its digits would be lost. Give float64 or float32",
}


def check_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Return ``dtype`` as a NumPy dtype, or reject a type that cannot be restored without loss.

    Raises
    ------
    RequestError
        For booleans, complex numbers, integers beyond 16 bits, and non-numeric types.
    """
    found = np.dtype(dtype)
    if found.name not in _SUPPORTED:
        reasons = [reason for kinds, reason in _REFUSED.items() if found.kind in kinds]
        why = reasons[0] if reasons else "they are not numbers. Convert them to one of these"
        raise RequestError(
            f"Pixels of type {found.name} cannot be restored: {why}. Supported are {', '.join(_SUPPORTED)}."
        )
    return found


def computed_in(dtype: DTypeLike, precision: str = "auto") -> str | None:
    """Describe a loss of digits in the arithmetic for the report; None if there is none.

    Only float64 pixels have more digits than the network receives. The intensity map is still applied in
    float64: the loss is in digits of the mapped range, not of the stored values.

    Examples
    --------
    >>> computed_in("float64")
    "float64 pixels are computed in float32: about 7 digits of the intensity range; precision='float64' keeps all."
    """
    if np.dtype(dtype).name != "float64" or precision == "float64":
        return None
    name, digits = ("bfloat16", "2 to 3") if precision == "bfloat16" else ("float32", "about 7")
    return (
        f"float64 pixels are computed in {name}: {digits} digits of the intensity range; precision='float64' keeps all."
    )


def range_limits(dtype: DTypeLike) -> tuple[float, float]:
    """Return the range of a storage type: its limits for integers, 0..1 for floats."""
    found = np.dtype(dtype)
    if found.kind == "f":
        return 0.0, 1.0
    info = np.iinfo(found)
    return float(info.min), float(info.max)


@dataclass(frozen=True)
class IntensityMap:
    """Stored value v <-> network value (v - lo) / (hi - lo); ``lo == hi`` maps everything to ``lo``.

    ``error`` is the standard error of ``lo`` and ``hi`` in stored units if they are percentiles of a
    sample; None if they are exact. It changes no pixel.
    """

    lo: float
    hi: float
    error: tuple[float, float] | None = None

    @property
    def width(self) -> float:
        """hi - lo."""
        return self.hi - self.lo

    def to_dict(self) -> dict[str, Any]:
        """Return the map as JSON-ready values; ``error`` only if there is one."""
        found: dict[str, Any] = {"lo": self.lo, "hi": self.hi}
        return found if self.error is None else found | {"error": list(self.error)}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> IntensityMap:
        """Build the map from the result of `to_dict`."""
        error = found.get("error")
        return cls(found["lo"], found["hi"], None if error is None else (error[0], error[1]))


#: Above this number sums of a few float64 pixels are infinite; other pixels are summed in float64.
_LARGEST = float(np.finfo(np.float64).max) / 4096


def check_width(found: IntensityMap, dtype: DTypeLike) -> IntensityMap:
    """Return the map, or reject one that is too wide for the arithmetic in which pixels of ``dtype`` are mapped.

    Raises
    ------
    RequestError
        If hi - lo is infinite in float32; for float64 pixels, if sums of them are infinite.
    """
    double = np.dtype(dtype).name == "float64"
    largest = max(found.width, abs(found.lo), abs(found.hi)) if double else found.width
    if largest > (_LARGEST if double else float(np.finfo(np.float32).max)):
        raise RequestError(
            f"The intensity range from {found.lo:g} to {found.hi:g} is too wide for"
            f" {'float64' if double else 'float32'} arithmetic: mark extreme values as nodata (or NaN), or divide the"
            " pixels by a number first."
        )
    return found


_SAMPLE = ":sample"
#: Before the address of a finished output whose intensity maps are taken.
_LIKE = "like:"


@dataclass(frozen=True)
class RangeRequest:
    """The user's choice of the intensity range.

    ``kind`` is ``auto``, ``dtype``, ``fixed``, ``channels``, ``like`` or ``percentile``; ``low`` and ``high`` are
    values for ``fixed`` and percentages for ``percentile``. ``sample`` estimates percentiles from a sample of the
    image, with their error, instead of from the whole image. ``channels`` holds two values for each channel;
    ``output`` is the address of the finished output for ``like``, which `swin2sr_ops.run.finished_range`
    turns into values.
    """

    kind: str
    low: float = 0.0
    high: float = 0.0
    sample: bool = False
    channels: tuple[tuple[float, float], ...] = ()
    output: str = ""

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        if self.kind == "channels":
            return ";".join(f"{low!r},{high!r}" for low, high in self.channels)
        if self.kind == "like":
            return f"{_LIKE}{self.output}"
        if self.kind == "fixed":
            return f"{self.low!r},{self.high!r}"
        if self.kind == "percentile":
            return f"p{self.low:g},p{self.high:g}" + (_SAMPLE if self.sample else "")
        return self.kind

    @classmethod
    def parse(cls, value: str | Sequence[float] | RangeRequest) -> RangeRequest:
        """Parse a user's range.

        It is ``"auto"``, ``"dtype"``, ``(lo, hi)``, ``"lo,hi"``, one pair for each channel as in ``"0,4095;0,900"``,
        percentiles as in ``"p1,p99.8"``, percentiles of a sample of a large image, ``"p1,p99.8:sample"``, or
        the range of a finished output: ``"like:x2.ome.zarr"``.
        """
        if isinstance(value, RangeRequest):
            return value
        if isinstance(value, str) and value in ("auto", "dtype"):
            return cls(value)
        if isinstance(value, str) and value.startswith(_LIKE):
            return _like(value)
        if isinstance(value, str) and ";" in value:
            return cls.of_channels([_pair(part, value) for part in value.split(";")])
        if isinstance(value, str) and value.lower().rstrip().endswith(_SAMPLE):
            return _sampled(value)
        try:
            parts = [str(p).strip().lower() for p in (value.split(",") if isinstance(value, str) else value)]
            percent = all(p.startswith("p") for p in parts)
            low, high = (float(p.removeprefix("p") if percent else p) for p in parts)
        except (ValueError, TypeError):  # not numbers, not two, or not iterable
            low, high, percent = np.nan, np.nan, False
        if not (np.isfinite([low, high]).all() and low < high) or (percent and not 0 <= low < high <= 100):
            raise RequestError(
                f"range={value!r} is not understood: give 'auto', 'dtype', two rising numbers such as "
                "0,4095, two percentiles such as p1,p99.8, those of a sample: p1,p99.8:sample, or those of a finished "
                "output: like:x2.ome.zarr."
            )
        return cls("percentile" if percent else "fixed", low, high)

    @classmethod
    def of_channels(cls, channels: Sequence[tuple[float, float]]) -> RangeRequest:
        """Return the request for one pair of values for each channel; a single pair is for all."""
        if len(channels) == 1 and channels[0][0] < channels[0][1]:
            return cls("fixed", *channels[0])
        return cls("channels", channels=tuple(channels))

    def immediate(self, dtype: DTypeLike) -> IntensityMap | None:
        """Return the map if it is one for all channels and needs no pixels, else None.

        For 8-bit images, which are stretched already, ``auto`` is the range of the type. For all others it
        is the smallest to the largest value of the image.

        Raises
        ------
        RequestError
            For the range of a finished output, which has not been read, and for one that is too wide.
        """
        if self.kind == "like":
            raise RequestError(
                f"range={str(self)!r} cannot be read here: give the two values that the attribute swin2sr_ops of that"
                " output has, or use swin2sr_ops.restore_image."
            )
        if self.kind == "fixed":
            return check_width(IntensityMap(self.low, self.high), dtype)
        if self.kind == "dtype" or (self.kind == "auto" and np.dtype(dtype).itemsize == 1):
            return IntensityMap(*range_limits(dtype))
        return None

    def known_maps(self, dtype: DTypeLike, count: int) -> tuple[IntensityMap, ...] | None:
        """Return one map for all ``count`` channels, or one for each, if no pixels are needed; else None.

        Raises
        ------
        RequestError
            If the request has pairs for another number of channels, or a range is too wide.
        """
        if self.kind != "channels":
            known = self.immediate(dtype)
            return None if known is None else (known,)
        if len(self.channels) not in (1, count):
            raise RequestError(
                f"range={str(self)!r} has {len(self.channels)} pairs, but the image has"
                f" {count} {'channel' if count == 1 else 'channels'} with a range of its own: give one pair for each,"
                " or one for all."
            )
        return tuple(check_width(IntensityMap(low, high), dtype) for low, high in self.channels)

    def looks(self, dtype: DTypeLike) -> int:
        """Return the number of passes over the pixels: none, one, or two (percentiles of floats)."""
        if self.kind == "channels" or self.immediate(dtype) is not None:
            return 0
        return 2 if self.kind == "percentile" and np.dtype(dtype).kind == "f" else 1


def _like(value: str) -> RangeRequest:
    output = value.removeprefix(_LIKE).strip()
    if not output:
        raise RequestError(f"range={value!r} names no output: give that of a finished run, as in like:x2.ome.zarr.")
    return RangeRequest("like", output=output)


def _pair(part: str, value: str) -> tuple[float, float]:
    """Parse one channel's pair; a constant channel of a finished run has two equal values."""
    try:
        low, high = (float(number) for number in part.split(","))
    except ValueError:
        low, high = np.nan, np.nan
    if not (np.isfinite([low, high]).all() and low <= high):
        raise RequestError(
            f"range={value!r} is not understood: {part!r} is not two rising numbers. Give a pair for each channel,"
            " as in 0,4095;0,900."
        )
    return low, high


def _sampled(value: str) -> RangeRequest:
    """Parse ``"<percentiles>:sample"``; a sample gives percentiles only."""
    request = RangeRequest.parse(value.rstrip()[: -len(_SAMPLE)])
    if request.kind == "percentile" and request.low > 0 and request.high < 100:
        return replace(request, sample=True)
    if request.kind in ("dtype", "fixed"):
        raise RequestError(
            f"range={value!r} asks for a sample, but this range does not depend on pixels: omit ':sample'."
        )
    raise RequestError(
        f"range={value!r} asks for the smallest and the largest value of a sample: extremes cannot be sampled, the "
        "pixels that were not looked at may go beyond. Give percentiles inside, such as p0.1,p99.9:sample."
    )
