"""Creation options of a Cloud Optimized GeoTIFF: names and values as those of GDAL's driver."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from swin2sr_ops.errors import RequestError

__all__ = ["Creation", "canonical", "creation_of", "normalized"]

#: Compression -> TIFF's number, default level, highest level (0: there are none).
_KINDS = {"DEFLATE": (8, 6, 9), "LZW": (5, 0, 0), "ZSTD": (50000, 9, 22)}
_LZW_GROWTH = 1.5  # a code of up to 12 bits may stand for a single byte
_NAMES = ("COMPRESS", "LEVEL", "BLOCKSIZE")
_SMALLEST, _LARGEST = 64, 4096
_DIGITS = 9


@dataclass(frozen=True)
class Creation:
    """How the tiles of a COG are stored.

    Attributes
    ----------
    compress : {"DEFLATE", "LZW", "ZSTD"}
    level : int, optional
        Effort of DEFLATE (1 to 9) or ZSTD (1 to 22); None: 6 and 9.
    blocksize : int
        Side of a tile, a multiple of 16.

    Raises
    ------
    RequestError
        A value is not valid.
    """

    compress: str = "DEFLATE"
    level: int | None = None
    blocksize: int = 512

    def __post_init__(self) -> None:
        if self.compress not in _KINDS:
            raise RequestError(f"COMPRESS={self.compress} is not one of {', '.join(_KINDS)}.")
        highest = _KINDS[self.compress][2]
        if self.level is not None and highest == 0:
            raise RequestError(f"COMPRESS={self.compress} has no LEVEL: omit it, or choose DEFLATE or ZSTD.")
        if self.level is not None and not 1 <= self.level <= highest:
            raise RequestError(f"LEVEL={self.level} is not a level of {self.compress}: give 1 to {highest}.")
        if self.blocksize % 16 or not _SMALLEST <= self.blocksize <= _LARGEST:
            raise RequestError(
                f"BLOCKSIZE={self.blocksize} is not valid: give a multiple of 16 from {_SMALLEST} to {_LARGEST}."
            )

    @property
    def code(self) -> int:
        """TIFF's number of the compression."""
        return _KINDS[self.compress][0]

    @property
    def effort(self) -> int:
        """Level that is used: the given one, or the compression's default; 0 if it has none."""
        return self.level or _KINDS[self.compress][1]

    @property
    def changes(self) -> dict[str, str]:
        """Options that store other bytes than the default ones, in the form of `normalized`."""
        found = {"COMPRESS": self.compress, "LEVEL": self.effort, "BLOCKSIZE": self.blocksize}
        usual = {
            "COMPRESS": Creation.compress,
            "LEVEL": Creation(self.compress).effort,
            "BLOCKSIZE": Creation.blocksize,
        }
        return {name: str(value) for name, value in found.items() if value != usual[name]}

    @property
    def growth(self) -> float:
        """Factor by which compression may enlarge noise: only LZW does more than a few bytes per tile."""
        return _LZW_GROWTH if self.compress == "LZW" else 1.0

    def encode(self, raw: bytes) -> bytes:
        """Compress the bytes of a tile."""
        import imagecodecs

        if self.compress == "LZW":
            return bytes(imagecodecs.lzw_encode(raw))
        if self.compress == "ZSTD":
            return bytes(imagecodecs.zstd_encode(raw, level=self.effort))
        return bytes(imagecodecs.deflate_encode(raw, level=self.effort, raw=False))


def normalized(given: Any) -> dict[str, str]:
    """Return options with upper-case names and values: ``{"compress": "zstd"}`` and ``["COMPRESS=ZSTD"]`` are the same.

    Raises
    ------
    RequestError
        They are neither a mapping nor words ``NAME=VALUE``, or a name is given twice.
    """
    options: dict[str, str] = {}
    for name, value in _pairs(given):
        if name in options:
            raise RequestError(
                f"The creation option {name} is given twice, with {options[name]} and {value}: give it once."
            )
        options[name] = value
    return options


def _pairs(given: Any) -> Iterator[tuple[str, str]]:
    """Iterate over names and values; None has no options."""
    if given is None:
        return
    if isinstance(given, Mapping):
        yield from ((_plain(name), _plain(value)) for name, value in given.items())
        return
    if isinstance(given, bytes | bytearray) or not isinstance(given, Collection):  # an iterator could be read only once
        raise RequestError(
            f"creation={given!r} is not understood: give a mapping or a list of words NAME=VALUE, such as"
            " ['COMPRESS=ZSTD']."
        )
    for word in [given] if isinstance(given, str) else given:
        name, equals, value = word.partition("=") if isinstance(word, str) else ("", "", "")
        if not name.strip() or not equals:
            raise RequestError(f"creation option {word!r} is not understood: give NAME=VALUE, such as COMPRESS=ZSTD.")
        yield _plain(name), _plain(value)


def _plain(text: object) -> str:
    return str(text).strip().upper()


def canonical(given: Any) -> dict[str, str]:
    """Return the options that store other bytes than the default ones, equal however they are spelled.

    Raises
    ------
    RequestError
        As `normalized`. Unknown options are returned: a plugin's format may have them, and others refuse them.
    """
    options = normalized(given)
    try:
        return creation_of(options).changes
    except RequestError:
        return options


def creation_of(given: Any) -> Creation:
    """Parse creation options.

    Raises
    ------
    RequestError
        An option is unknown, or its value is not valid.
    """
    options = normalized(given)
    for name in options:
        if name not in _NAMES:
            near = get_close_matches(name, _NAMES, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_NAMES)}."
            raise RequestError(f"{name} is not a creation option of our GeoTIFFs: {hint}")
    numbers: dict[str, int] = {}
    for name in ("LEVEL", "BLOCKSIZE"):
        if name in options:
            if not options[name].isdecimal() or len(options[name]) > _DIGITS:
                raise RequestError(f"{name}={options[name]} is not understood: give a whole number.")
            numbers[name.lower()] = int(options[name])
    return Creation(options.get("COMPRESS", "DEFLATE"), **numbers)
