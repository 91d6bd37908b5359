"""Draw a contact sheet: the same crop of input, bicubic enlargement, results, truth and errors, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import OutputError, RequestError
from swin2sr_ops.io.output.side_files import check_side_file

if TYPE_CHECKING:
    from PIL.Image import Image

    from swin2sr_ops.evaluate.scoring import Measured

__all__ = ["Sheet"]

_CELL = 192  # displayed side of a crop
_ZOOM = 2  # displayed pixels per pixel of the result
_GAIN = 8  # of the error, so that a difference of 32 levels has full brightness
_GAP, _LINE = 6, 15
_MARK = "swin2sr-ops evaluate --sheet"  # in the file, so that a later sheet replaces no other picture


class Sheet:
    """Collect crops of measured images, and write them as one picture.

    Parameters
    ----------
    path : path
        A ``.png`` file.
    rows : int
        Most images to show, from the first.

    Raises
    ------
    RequestError, OutputError
        If the file's suffix is not ``.png``, its folder does not exist, or it is another picture.
    """

    def __init__(self, path: str | Path, rows: int = 12) -> None:
        self.path, self.rows = Path(path), rows
        if self.path.suffix.lower() != ".png":
            raise RequestError(f"A contact sheet is a PNG: {str(path)!r} must end with .png.")
        if not self.path.absolute().parent.is_dir():
            raise OutputError(f"There is no folder {str(self.path.absolute().parent)!r} for the contact sheet.")
        check_side_file(self.path, "contact sheet", _is_sheet)
        self._rows: list[list[tuple[str, NDArray[np.uint8]]]] = []

    def __call__(self, measured: Measured) -> None:
        """Add a crop of an image, taken where the baseline has the largest error."""
        if len(self._rows) < self.rows:
            self._rows.append(_cells(measured))

    def save(self) -> None:
        """Write the picture."""
        if not self._rows:
            return
        from PIL import Image, ImageDraw
        from PIL.PngImagePlugin import PngInfo

        columns = max(map(len, self._rows))
        size = columns * (_CELL + _GAP) + _GAP, len(self._rows) * (_CELL + 2 * _LINE + _GAP) + _GAP
        picture = Image.new("RGB", size, (255, 255, 255))
        draw = ImageDraw.Draw(picture)
        for i, row in enumerate(self._rows):
            top = _GAP + i * (_CELL + 2 * _LINE + _GAP)
            for j, (title, pixels) in enumerate(row):
                left = _GAP + j * (_CELL + _GAP)
                picture.paste(_image(pixels), (left, top + 2 * _LINE))
                for k, line in enumerate(title.split("\n")):
                    draw.text((left, top + k * _LINE), _cut(draw, line), fill=(0, 0, 0), font_size=12)
        marked = PngInfo()
        marked.add_text("Software", _MARK)
        try:
            picture.save(self.path, pnginfo=marked)
        except OSError as exc:
            raise OutputError(f"The contact sheet {str(self.path)!r} cannot be written: {exc}.") from exc


def _is_sheet(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.info.get("Software") == _MARK
    except (OSError, ValueError, SyntaxError):  # no picture, or a broken one
        return False


def _cut(draw: Any, line: str) -> str:
    """Shorten a line to the width of a crop."""
    while draw.textlength(line, font_size=12) > _CELL:
        line = line[:-1]
    return line


def _image(pixels: NDArray[np.uint8]) -> Image:
    from PIL import Image

    return Image.fromarray(pixels).resize((_CELL, _CELL), Image.Resampling.NEAREST)


def _cells(m: Measured) -> list[tuple[str, NDArray[np.uint8]]]:
    """Return name and pixels of each crop of one image; crops of an image smaller than a cell are stretched."""
    s, results = m.scale, dict(m.outputs)
    base = "bicubic" if s > 1 else "input"
    side = min(_CELL // _ZOOM // s, *m.given.shape[:2])
    y, x = _worst(m, results[base], side)
    small = m.given[y : y + side, x : x + side]
    part = slice(y * s, (y + side) * s), slice(x * s, (x + side) * s)
    if s == 1:
        results.pop(base)
    cells = [(f"{m.name}\ninput", _shown(small, m))]
    cells += [(f"{name}\n{_caption(m, name)}", _shown(pixels[part], m)) for name, pixels in results.items()]
    if m.truth is not None:
        truth = m.truth[part]
        cells.append(("\ntruth", _shown(truth, m)))
        cells += [(f"error x{_GAIN}\n{name}", _error(p[part], truth, m)) for name, p in results.items() if name != base]
    return cells


def _caption(m: Measured, method: str) -> str:
    row = m.scores[method]
    for name in ("psnr_y" if m.scale > 1 else "psnr", "psnr", "si_psnr", "fidelity"):
        if name in row:
            return f"{row[name]:.2f} dB ({name})"
    return ""


def _worst(m: Measured, base: NDArray[Any], side: int) -> tuple[int, int]:
    """Find the crop of side ``side``, in input pixels, with the largest error of the baseline; else the centre."""
    height, width = m.given.shape[:2]
    if m.truth is None:
        return (height - side) // 2, (width - side) // 2
    gap = ((base.astype(np.float64) - m.truth) ** 2).mean(-1)
    gap = gap.reshape(height, m.scale, width, m.scale).mean((1, 3))
    sums = np.pad(gap.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    boxes = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    y, x = np.unravel_index(int(boxes.argmax()), boxes.shape)
    return int(y), int(x)


def _shown(pixels: NDArray[Any], m: Measured) -> NDArray[np.uint8]:
    unit = ((pixels.astype(np.float64) - m.levels.lo) / m.levels.peak).clip(0, 1)
    return np.broadcast_to((unit * 255).round().astype(np.uint8), (*pixels.shape[:2], 3)).copy()


def _error(result: NDArray[Any], truth: NDArray[Any], m: Measured) -> NDArray[np.uint8]:
    """Colour the error: black for none, then red, yellow, white."""
    gap = np.abs(result.astype(np.float64) - truth).mean(-1) / m.levels.peak * _GAIN
    return heat(gap)


def heat(unit: NDArray[Any]) -> NDArray[np.uint8]:
    """Map 0..1 to black, red, yellow, white."""
    colours = np.stack([3 * unit, 3 * unit - 1, 3 * unit - 2], -1).clip(0, 1)
    shown: NDArray[np.uint8] = (colours * 255).round().astype(np.uint8)
    return shown
