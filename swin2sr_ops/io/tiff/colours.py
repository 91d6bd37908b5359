"""The samples of a TIFF's pixel: colours that go together, opacity, or data."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from swin2sr_ops.errors import FormatError

__all__ = ["MINISWHITE", "axis_letters", "band_roles", "check_colours", "is_premultiplied"]

# PhotometricInterpretation
MINISWHITE, _RGB, _PALETTE, _SEPARATED, _YCBCR = 0, 2, 3, 5, 6
_COLOUR_SPACES = {8: "CIE L*a*b*", 9: "ICC L*a*b*", 10: "ITU L*a*b*", 32844: "LogL", 32845: "LogLuv"}
_MOSAIC = 32803
_YCBCR_CODECS = {7, 33007, 34892, 33003, 33004, 33005, 34712, 50001}  # these decode to RGB by themselves
_ASSOCIATED = 1
_OPACITY = {_ASSOCIATED, 2}  # ExtraSamples; 0 is unspecified


def check_colours(uri: str, tiff: Any, page: Any) -> None:
    """Refuse stored numbers that are no brightnesses: a mean of two of them means nothing.

    Raises
    ------
    FormatError
        Palette indices, inks, a sensor mosaic, or colours other than RGB.
    """
    kind = page.photometric
    if kind == _PALETTE and not (tiff.is_imagej or tiff.is_ome):  # there it is a display table only
        raise FormatError(f"{uri!r} stores palette indices, not colours: convert it to RGB first.")
    if kind == _SEPARATED:
        raise FormatError(f"{uri!r} stores printing inks (CMYK): convert it to RGB first.")
    if kind == _MOSAIC:
        raise FormatError(f"{uri!r} is a raw sensor mosaic: develop it to RGB first.")
    if kind in _COLOUR_SPACES:
        raise FormatError(f"{uri!r} stores {_COLOUR_SPACES[kind]} colours: convert it to RGB first.")
    if kind == _YCBCR and page.compression not in _YCBCR_CODECS:
        raise FormatError(f"{uri!r} stores YCbCr colours without JPEG: convert it to RGB first.")


def axis_letters(given: str, shape: Sequence[int], page: Any) -> str:
    """Convert tifffile's axis letters to those of `ImageInfo`.

    S is for colours only, with or without opacity: samples of satellite bands or of gray with transparency are
    channels, and so is a fourth sample unless the file declares it as opacity.
    tifffile's letters for "some sequence" and rarer ones become T, Z or C, whichever is free.
    """
    letters = list(given)
    if "S" in letters:
        count = shape[letters.index("S")]
        colours = page.photometric in (_RGB, _YCBCR) and (count == 3 or (count == 4 and _alphas(page) == {0}))
        if not colours and "C" not in letters:
            letters[letters.index("S")] = "C"
    for i, letter in enumerate(letters):
        if letter not in "TZCYXS":
            free = [a for a in "TZC" if a not in letters]
            letters[i] = free[0] if free else letter
    return "".join(letters)


def band_roles(uri: str, given: str, letters: str, page: Any) -> dict[str, list[Any]]:
    """Return the roles of a colour image's samples, if some are not colours; empty for other images.

    Returns
    -------
    dict
        ``colorinterp`` and ``descriptions`` of each sample, as `swin2sr_ops.io.geo.metadata.describe` has them.
    """
    if "S" not in given or letters[given.index("S")] != "C" or page.photometric not in (_RGB, _YCBCR):
        return {}
    extra = page.samplesperpixel - 3
    if extra < 1 or _alphas(page):
        return {}
    if extra == 1:
        position = given.index("S")
        warnings.warn(
            f"{uri!r} does not say what its fourth sample is: it is restored as a channel of its own. Give axes="
            f"{letters[:position]}S{letters[position + 1 :]} if it is opacity.",
            stacklevel=3,
        )
    names = ["red", "green", "blue", *["undefined"] * extra]
    return {"colorinterp": names, "descriptions": [None] * len(names)}


def is_premultiplied(page: Any) -> bool:
    """Return True if the samples of a page are stored multiplied by their opacity ("associated alpha")."""
    return _ASSOCIATED in map(int, page.extrasamples)


def _alphas(page: Any) -> set[int]:
    """Return the positions, counted after the colours, of samples that the file declares as opacity."""
    return {k for k, kind in enumerate(page.extrasamples) if int(kind) in _OPACITY}
