"""Creation options of a Cloud Optimized GeoTIFF: names and values as those of GDAL's driver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from swin2sr_ops.errors import RequestError

__all__ = ["Creation", "creation_of", "normalized"]

#: Compression -> TIFF's number, default level, highest level (0: there are none).
_KINDS = {"DEFLATE": (8, 6, 9), "LZW": (5, 0, 0), "ZSTD": (50000, 9, 22)}
_LZW_GROWTH = 1.5  # a code of up to 12 bits may stand for a single byte
_NAMES = ("COMPRESS", "LEVEL", "BLOCKSIZE")
_SMALLEST, _LARGEST = 64, 4096


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
    def growth(self) -> float:
        """Factor by which compression may enlarge noise: only LZW does more than a few bytes per tile."""
        return _LZW_GROWTH if self.compress == "LZW" else 1.0

    def encode(self, raw: bytes) -> bytes:
        """Compress the bytes of a tile."""
        import imagecodecs

        level = self.level or _KINDS[self.compress][1]
        if self.compress == "LZW":
            return bytes(imagecodecs.lzw_encode(raw))
        if self.compress == "ZSTD":
            return bytes(imagecodecs.zstd_encode(raw, level=level))
        return bytes(imagecodecs.deflate_encode(raw, level=level, raw=False))


def normalized(given: Any) -> dict[str, str]:
    """Return options with upper-case names and values: ``{"compress": "zstd"}`` and ``["COMPRESS=ZSTD"]`` are the same.

    Raises
    ------
    RequestError
        They are neither a mapping nor words ``NAME=VALUE``.
    """
    if isinstance(given, Mapping):
        return {str(name).upper(): str(value).upper() for name, value in given.items()}
    words = [given] if isinstance(given, str) else list(given)
    for word in words:
        if not isinstance(word, str) or "=" not in word:
            raise RequestError(f"creation option {word!r} is not understood: give NAME=VALUE, such as COMPRESS=ZSTD.")
    return {name.strip().upper(): value.strip().upper() for name, _, value in (word.partition("=") for word in words)}


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
            if not options[name].isdecimal():
                raise RequestError(f"{name}={options[name]} is not understood: give a whole number.")
            numbers[name.lower()] = int(options[name])
    return Creation(options.get("COMPRESS", "DEFLATE"), **numbers)
