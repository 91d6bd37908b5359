"""Read the ``omero`` block: channels without invalid values, which many writers produce, and the rest as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Any

from swin2sr_ops.io.base import json_ready

__all__ = ["read_channels", "read_rest"]

_NAMED = {
    "black": "000000", "white": "FFFFFF", "gray": "808080", "grey": "808080", "red": "FF0000", "lime": "00FF00",
    "green": "00FF00", "blue": "0000FF", "cyan": "00FFFF", "aqua": "00FFFF", "magenta": "FF00FF",
    "fuchsia": "FF00FF", "yellow": "FFFF00", "orange": "FFA500", "purple": "800080", "violet": "EE82EE",
    "pink": "FFC0CB", "brown": "A52A2A", "teal": "008080", "navy": "000080", "maroon": "800000",
}  # fmt: skip
_WINDOW = ("start", "end", "min", "max")
#: Keys of a channel that are read, and validated.
_READ = frozenset({"label", "color", "window", "active"})
#: Keys of the block that belong to the image that was read: its number in OMERO, and the version of its metadata.
_OWN = frozenset({"channels", "id", "version"})


def read_channels(omero: Any) -> tuple[dict[str, Any], ...]:
    """Return label, colour (six hexadecimal digits), window and visibility of each channel, if they are valid.

    Other keys follow as they are: ``inverted``, ``coefficient``, ``family``.
    """
    given = omero.get("channels") if isinstance(omero, Mapping) else None
    if not isinstance(given, (list, tuple)):
        return ()
    return tuple(_channel(entry) for entry in given)


def read_rest(omero: Any) -> dict[str, Any]:
    """Return what the block says of the whole image, such as ``rdefs``, ready for JSON."""
    if not isinstance(omero, Mapping):
        return {}
    return {str(key): json_ready(value) for key, value in omero.items() if key not in _OWN}


def _channel(given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        return {}
    channel: dict[str, Any] = {}
    if given.get("label") is not None:
        channel["label"] = str(given["label"])
    color = _color(given.get("color"))
    if color:
        channel["color"] = color
    window = _window(given.get("window"))
    if window:
        channel["window"] = window
    if isinstance(given.get("active"), bool):
        channel["active"] = given["active"]
    return channel | {str(key): json_ready(value) for key, value in given.items() if key not in _READ}


def _color(given: Any) -> str:
    """Return six hexadecimal digits; "" if ``given`` is no colour."""
    if isinstance(given, (list, tuple)) and len(given) in (3, 4):
        return _from_parts(given)
    if isinstance(given, int) and not isinstance(given, bool):
        return f"{given & 0xFFFFFF:06X}"  # OMERO's own numbers hold RGB in the lower bits, alpha above
    text = str(given or "").strip().lower()
    digits = text.removeprefix("#").removeprefix("0x")
    if re.fullmatch(r"[0-9a-f]{6}([0-9a-f]{2})?", digits):
        return digits[:6].upper()
    if re.fullmatch(r"[0-9a-f]{3}", digits):
        return "".join(2 * d for d in digits).upper()
    found = re.fullmatch(r"rgba?\(\s*(\d+)\D+(\d+)\D+(\d+).*\)", text)
    return _from_parts([int(v) for v in found.groups()]) if found else _NAMED.get(text, "")


def _from_parts(parts: Any) -> str:
    numbers = [_number(part) for part in parts[:3]]
    if any(n is None or n < 0 for n in numbers):
        return ""
    known = [n for n in numbers if n is not None]
    unit = any(isinstance(part, float) for part in parts[:3]) and max(known) <= 1
    return "".join(f"{min(255, round(n * 255 if unit else n)):02X}" for n in known)


def _window(given: Any) -> dict[str, float]:
    if not isinstance(given, Mapping):
        return {}
    numbers = {key: _number(given.get(key)) for key in _WINDOW}
    window = {key: value for key, value in numbers.items() if value is not None}
    for low, high in (("start", "end"), ("min", "max")):
        if not (low in window and high in window and window[low] <= window[high]):
            window.pop(low, None)
            window.pop(high, None)
    return window


def _number(value: Any) -> Any:
    """Return ``value`` unchanged if it is a finite number; convert digits in a text."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if not isfinite(number):
        return None
    return value if isinstance(value, (int, float)) else number
