"""Convert the spellings of physical units in files to the names of NGFF and of OME."""

from __future__ import annotations

import re
import unicodedata
import warnings
from fractions import Fraction
from html import unescape

__all__ = ["OME_SYMBOLS", "converted", "is_known", "unit_along", "unit_name"]

_PREFIXES = {
    "Y": "yotta", "Z": "zetta", "E": "exa", "P": "peta", "T": "tera", "G": "giga", "M": "mega", "k": "kilo",
    "h": "hecto", "da": "deca", "d": "deci", "c": "centi", "m": "milli", "µ": "micro", "n": "nano", "p": "pico",
    "f": "femto", "a": "atto", "z": "zepto", "y": "yocto",
}  # fmt: skip
_OTHER = {
    "Å": "angstrom", "thou": "thou", "li": "line", "in": "inch", "ft": "foot", "yd": "yard", "mi": "mile",
    "ua": "astronomical unit", "ly": "light year", "pc": "parsec", "pt": "point",
    "min": "minute", "h": "hour", "d": "day",
}  # fmt: skip
#: Symbol of each unit in OME-XML.
OME_SYMBOLS = {
    "meter": "m", "second": "s", **{f"{name}meter": f"{short}m" for short, name in _PREFIXES.items()},
    **{f"{name}second": f"{short}s" for short, name in _PREFIXES.items()},
    **{name: short for short, name in _OTHER.items()},
}  # fmt: skip
_POWERS = {
    "yotta": 24, "zetta": 21, "exa": 18, "peta": 15, "tera": 12, "giga": 9, "mega": 6, "kilo": 3, "hecto": 2,
    "deca": 1, "deci": -1, "centi": -2, "milli": -3, "micro": -6, "nano": -9, "pico": -12, "femto": -15, "atto": -18,
    "zepto": -21, "yocto": -24, "": 0,
}  # fmt: skip
_INCH = Fraction(254, 10000)
_METERS = {
    "angstrom": Fraction(1, 10**10), "thou": _INCH / 1000, "line": _INCH / 12, "inch": _INCH, "foot": 12 * _INCH,
    "yard": 36 * _INCH, "mile": 63360 * _INCH, "point": _INCH / 72, "astronomical unit": Fraction(149597870700),
    "light year": Fraction(9460730472580800), "parsec": Fraction(30856775814913673),
    **{f"{name}meter": Fraction(10) ** power for name, power in _POWERS.items()},
}  # fmt: skip
_SECONDS = {
    "minute": Fraction(60), "hour": Fraction(3600), "day": Fraction(86400),
    **{f"{name}second": Fraction(10) ** power for name, power in _POWERS.items()},
}  # fmt: skip
_SPELLINGS = {
    "um": "micrometer", "micron": "micrometer", "microns": "micrometer", "mu": "micrometer", "u": "micrometer",
    "ångström": "angstrom", "ångstrom": "angstrom", "angström": "angstrom", "a": "angstrom", "mil": "thou",
    "inches": "inch", '"': "inch", "feet": "foot", "us": "microsecond", "usec": "microsecond", "msec": "millisecond",
    "sec": "second", "secs": "second", "hr": "hour", "hrs": "hour", "mins": "minute", "cms": "centimeter",
    "mms": "millimeter", "?m": "micrometer", "\ufffdm": "micrometer", "points": "point",
}  # fmt: skip
_NO_UNIT = frozenset({"", "pixel", "pixels", "px", "pix", "reference frame", "none", "null", "unknown", "undefined"})


def unit_name(given: object) -> str:
    """Return NGFF's name of the unit that ``given`` spells; "" for none, the text itself if it is unknown.

    Examples
    --------
    >>> unit_name("um"), unit_name("Âµm"), unit_name("Nanometres"), unit_name("pixel"), unit_name("furlong")
    ('micrometer', 'micrometer', 'nanometer', '', 'furlong')
    """
    text = _decoded("" if given is None else str(given))
    if text.lower() in _NO_UNIT:
        return ""
    for spelling in (text, text.lower()):  # "Mm" and "mm" differ
        if spelling in _NAMES:
            return _NAMES[spelling]
    return text.lower()


def unit_along(axis: str, given: object) -> str:
    """Return the name of the unit along ``axis``, as `unit_name` does; warn if it is unknown."""
    name = unit_name(given)
    if name and not is_known(name):
        warnings.warn(
            f"The unit {str(given)!r} of the pixel size along {axis} is unknown: programs that read the output may"
            " take it for pixels.",
            stacklevel=3,
        )
    return name


def is_known(name: str) -> bool:
    """Return True if both NGFF's readers and OME-XML know ``name``, a result of `unit_name`."""
    return name in OME_SYMBOLS


def converted(value: float, given: str, wanted: str) -> float | None:
    """Convert ``value`` between two units, results of `unit_name`; return None if they do not measure the same.

    Examples
    --------
    >>> converted(12.5, "millimeter", "micrometer"), converted(3.0, "", ""), converted(1.0, "second", "meter")
    (12500.0, 3.0, None)
    """
    if given == wanted:
        return value
    for known in (_METERS, _SECONDS):
        if given in known and wanted in known:
            return float(Fraction(value) * known[given] / known[wanted])  # exact, then rounded once
    return None


def _decoded(text: str) -> str:
    """Normalise ``text``: no escapes, one code point per character, and no traces of wrong encodings."""
    text = re.sub(r"\\+u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), unescape(text))  # ImageJ escapes
    for _ in range(3):  # UTF-8 that was read as Latin-1, possibly more than once
        repaired = _reread(text)
        if repaired is None or repaired == text:
            break
        text = repaired
    text = unicodedata.normalize("NFKC", text).replace("\u03bc", "µ").strip("\0 \t\r\n[]()")
    return re.sub(r"\s*(?:/|per)\s*(?:pixel|px|pix)s?$", "", text, flags=re.IGNORECASE).strip()


def _reread(text: str) -> str | None:
    for encoding in ("cp1252", "latin-1"):
        try:
            return text.encode(encoding).decode("utf-8")
        except (UnicodeEncodeError, UnicodeDecodeError):
            continue
    return None


def _all_names() -> dict[str, str]:
    names = {symbol: name for name, symbol in OME_SYMBOLS.items()}
    for name in OME_SYMBOLS:
        names |= {name: name, f"{name}s": name}
        if name.endswith("meter"):
            british = f"{name.removesuffix('meter')}metre"
            names |= {british: name, f"{british}s": name}
    return {**names, **_SPELLINGS}


_NAMES = _all_names()
