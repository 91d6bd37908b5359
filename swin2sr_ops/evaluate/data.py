"""Find the images of a folder to measure with: clean ones, or pairs of a clean and a degraded one."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.hooks.dispatch import open_source
from swin2sr_ops.run.models import spectrum_of

__all__ = ["Case", "find_cases", "planes", "walk"]

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm", ".jp2"}
#: Usual names of folders, or endings of names, of clean and of degraded images.
_CLEAN = ("HR", "GT", "gt", "clean", "truth", "target")
_POOR = ("LR", "LQ", "lr", "lq", "noisy", "input", "inputs")


@dataclass(frozen=True)
class Case:
    """An image to measure: its truth, and its input if there is one.

    ``truth`` is None if there are only inputs; ``given`` is None if the input is made from the truth.
    """

    name: str
    truth: Path | None
    given: Path | None = None


def find_cases(folder: Path, scale: int, *, inputs: Path | None = None, make: bool = False) -> list[Case]:
    """Find the images of ``folder``, sorted by name.

    Parameters
    ----------
    folder : path
        Clean images; or ``HR`` and ``LR_bicubic/X2`` beside each other, the layout of the official sets;
        or folders such as ``clean`` and ``noisy``; or names such as ``1_gt.png`` and ``1_noisy.png``.
    scale : int
        Selects ``X2``, ``X3``, ...; an input may be called ``NAMEx2``, or like its truth.
    inputs : path, optional
        Another folder with the inputs; then ``folder`` holds the clean images.
    make : bool
        Whether inputs will be made: inputs in the folder are ignored.

    Raises
    ------
    RequestError
        If there is no image, or inputs of some images are missing.
    """
    if not folder.is_dir():
        raise RequestError(f"There is no folder {str(folder)!r} with images to measure.")
    clean = _folder_of(folder, _CLEAN)
    poor = inputs or (None if make else _poor_folder(folder, scale, clean))
    found = _images(clean)
    if not found:
        raise RequestError(f"{str(folder)!r} contains no images: expected PNG, JPEG or TIFF files, or Zarr.")
    if poor is not None:
        by_name = dict(_named(_images(poor), poor))
        return [Case(n, p, _partner(n, by_name, scale, poor)) for n, p in _named(found, clean)]
    truths = {n: p for n, p in _named(found, clean) if _ending(n) not in _POOR}
    poors = {n: p for n, p in _named(found, clean) if _ending(n) in _POOR}
    if make or not poors:
        return [Case(n, p) for n, p in truths.items()]
    return [Case(_stem(n), p, _twin(n, poors, folder)) for n, p in truths.items()]


def walk(folder: Path, suffixes: Collection[str]) -> Iterator[Path]:
    """Walk the images below ``folder``: files with one of the suffixes, and Zarr archives, which are not entered."""
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir() and path.suffix.lower() != ".zarr":
            yield from walk(path, suffixes)
        elif path.is_dir() or path.suffix.lower() in suffixes:
            yield path


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise RequestError(f"There is no folder {str(folder)!r} with images.")
    return sorted(walk(folder, _SUFFIXES))


def _named(paths: list[Path], folder: Path) -> list[tuple[str, Path]]:
    return [(str(p.relative_to(folder).with_suffix("")).removesuffix(".ome"), p) for p in paths]


def _folder_of(folder: Path, names: tuple[str, ...]) -> Path:
    return next((folder / n for n in names if (folder / n).is_dir()), folder)


def _poor_folder(folder: Path, scale: int, clean: Path) -> Path | None:
    """Find the folder with the inputs of the clean images; None if there is none."""
    if clean == folder:
        return None
    for name in (f"LR_bicubic/X{scale}", f"LR/X{scale}", f"LRx{scale}", *_POOR):
        if (folder / name).is_dir():
            return folder / name
    return None


def _partner(name: str, poor: dict[str, Path], scale: int, folder: Path) -> Path:
    for candidate in (f"{name}x{scale}", name):
        if candidate in poor:
            return poor[candidate]
    raise RequestError(
        f"{str(folder)!r} has no input for {name!r}: expected {name}x{scale} or {name}, as PNG, TIFF or Zarr."
    )


def _ending(name: str) -> str:
    return name.rpartition("_")[2] if "_" in name else ""


def _stem(name: str) -> str:
    return name.rpartition("_")[0] if _ending(name) in _CLEAN else name


def _twin(name: str, poors: dict[str, Path], folder: Path) -> Path:
    stem = _stem(name)
    found = [poors[f"{stem}_{ending}"] for ending in _POOR if f"{stem}_{ending}" in poors]
    if not found:
        raise RequestError(f"{str(folder)!r} has inputs for other images, but none for {name!r}, such as {stem}_noisy.")
    return found[0]


def planes(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """Read the planes of an image, ``(H, W, 1)`` or ``(H, W, 3)`` without opacity, each with a suffix for its name.

    A raster's red, green and blue bands form one plane, as in `swin2sr_ops.restore_image`.

    Raises
    ------
    FormatError
        If it cannot be read, or has values that are not finite.
    """
    source = open_source(path)
    info = source.info
    order = AxisOrder.of(info.shape, info.axes, last_c_is_colour=False)
    pixels = source.read(tuple(slice(0, n) for n in info.shape))
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise FormatError(f"{str(path)!r} has pixels that are not finite: they cannot be measured.")
    spectrum = spectrum_of(info, order)
    if spectrum is None or order.channel is None:
        yield from _split(pixels, order)
        return
    for group in (*([spectrum.colour] if spectrum.colour else []), *spectrum.lone):
        for suffix, plane in _split(pixels.take(group, order.channel), order.together(len(group))):
            yield suffix + (f" c{group[0]}" if len(group) == 1 else ""), plane


def _split(pixels: NDArray[Any], order: AxisOrder) -> Iterator[tuple[str, NDArray[Any]]]:
    pixels = pixels.transpose(order.order)
    pixels = pixels[..., None, :, :] if order.colour is None else pixels
    kept = pixels.shape[:-3]
    letters = [order.axes[i].lower() for i in order.planes]
    for index in np.ndindex(kept):
        plane = np.moveaxis(pixels[index], 0, -1)
        plane = plane[..., : 3 if plane.shape[-1] > 2 else 1]
        suffix = "".join(f" {a}{i}" for a, i, n in zip(letters, index, kept, strict=True) if n > 1)
        yield suffix, np.ascontiguousarray(plane)
