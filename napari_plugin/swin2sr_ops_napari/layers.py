"""Describe a napari layer's image, and the layer of its restored image. No Qt here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from swin2sr_ops.errors import RequestError
from swin2sr_ops.hosting import AxisOrder, ImageInfo, check_dtype

__all__ = [
    "GROWING_MARK",
    "PREVIEW_MARK",
    "TRUST_MARK",
    "LayerImage",
    "appearance",
    "axes_of",
    "check_layer",
    "describe",
    "image_of",
    "is_named",
    "is_own",
    "place",
    "whole_place",
]

#: Keys in the metadata of layers that are no images of the person's: previews and trust layers.
PREVIEW_MARK, TRUST_MARK, GROWING_MARK = "swin2sr_ops_preview", "swin2sr_ops_trust", "swin2sr_ops_growing"
#: What people call axes.
_NAMES = {"t": "T", "time": "T", "c": "C", "ch": "C", "channel": "C", "channels": "C", "z": "Z", "y": "Y", "x": "X"}
#: Letters of a layer whose axes have no such names; the form shows them before anything runs.
_UNNAMED = {2: "YX", 3: "ZYX", 4: "TZYX", 5: "TCZYX"}
_UNNAMED_RGB = {2: "YXS", 3: "ZYXS", 4: "TZYXS"}


@dataclass(frozen=True)
class LayerImage:
    """The image of a layer.

    Attributes
    ----------
    levels : tuple of array
        NumPy, Dask, Zarr or whatever can be sliced; full-size first, one unless multiscale.
    axes : str
        One letter per dimension of the data; ``S`` last where the layer is RGB.
    name : str
    pixel_size, origin, units : dict
        Per letter, as in `ImageInfo`.
    turned : bool
        Whether the layer is also rotated, sheared, or has an affine.
    """

    levels: tuple[Any, ...]
    axes: str
    name: str = "image"
    pixel_size: Mapping[str, float] = field(default_factory=dict)
    origin: Mapping[str, float] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    turned: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the full-size level."""
        return tuple(int(n) for n in self.levels[0].shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels."""
        found: np.dtype[Any] = np.dtype(self.levels[0].dtype)
        return found

    @property
    def nbytes(self) -> int:
        """Size of the full-size level in bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def order(self, level: int = 0) -> AxisOrder:
        """Axes of one level; a C axis is channels, colour is S."""
        return AxisOrder.of(self.levels[level].shape, self.axes, last_c_is_colour=False)

    def with_all_planes(self) -> LayerImage:
        """Leave out levels with fewer planes: their neighbours lie further apart than those of the full-size level."""
        return replace(self, levels=tuple(self.levels[i] for i in range(len(self.levels)) if self.has_all_planes(i)))

    def has_all_planes(self, level: int) -> bool:
        """Return True if a level differs from the full-size one along Y and X only."""
        here = self.levels[level].shape
        return all(n == full for n, full, a in zip(here, self.shape, self.axes, strict=True) if a not in "YX")

    def chunks(self) -> tuple[int, ...]:
        """Return the unit for reads: the array's own chunks, or squares of a plane."""
        own = getattr(self.levels[0], "chunks", None)
        if own is not None and len(own) == len(self.shape):
            return tuple(int(c if isinstance(c, int) else max(c)) for c in own)
        return tuple(
            n if a == "S" else min(n, 1024) if a in "YX" else 1 for n, a in zip(self.shape, self.axes, strict=True)
        )

    def info(self) -> ImageInfo:
        """The same in the words of the formats."""
        return ImageInfo(
            shape=self.shape, axes=self.axes, dtype=self.dtype, chunks=self.chunks(),
            pixel_size=dict(self.pixel_size), origin=dict(self.origin), units=dict(self.units),
            name=self.name, format="napari layer", levels=len(self.levels),
        )  # fmt: skip


def check_layer(layer: Any) -> None:
    """Refuse what is no image, with a sentence."""
    if layer is None:
        raise RequestError(
            "There is no image layer to restore: open an image, or one of File > Open Sample > Swin2SR ops."
        )
    from napari.layers import Image, Labels

    if isinstance(layer, Labels):
        raise RequestError(
            f"{layer.name!r} is a labels layer: its numbers are names, not brightness, and nothing can be restored of"
            " them. Choose an image layer; labels are enlarged by nearest neighbour."
        )
    if not isinstance(layer, Image):
        kind = layer.__class__.__name__.lower()  # of a proxy: what it stands for
        raise RequestError(f"{layer.name!r} is a {kind} layer: only image layers can be restored. Choose one.")


def describe(layer: Any, axes: str | None = None) -> LayerImage:
    """The image of ``layer``, checked.

    Parameters
    ----------
    layer : napari.layers.Image or None
    axes : str, optional
        Letters that override what the layer's axis labels say.

    Raises
    ------
    RequestError
        No layer, not an image, or of a kind that cannot be restored.
    """
    check_layer(layer)
    levels = tuple(layer.data) if layer.multiscale else (layer.data,)
    letters = axes_of(layer.axis_labels, layer.ndim, rgb=layer.rgb) if not axes else axes.strip().upper()
    image = LayerImage(
        levels, letters, layer.name,
        turned=not _is_plain(layer), **_physical(letters, layer.scale, layer.translate, layer.units),
    )  # fmt: skip
    check_dtype(image.dtype)
    image.order()
    return image


def image_of(data: Any, attributes: Mapping[str, Any]) -> LayerImage:
    """The image of what napari gives a writer: data, and the layer's attributes."""
    rgb, multiscale = bool(attributes.get("rgb")), bool(attributes.get("multiscale"))
    levels = tuple(data) if multiscale else (data,)
    ndim = len(levels[0].shape) - rgb
    letters = axes_of(attributes.get("axis_labels") or ("",) * ndim, ndim, rgb=rgb)
    scale, translate = (attributes.get(key) for key in ("scale", "translate"))
    physical = _physical(
        letters,
        np.ones(ndim) if scale is None else scale,
        np.zeros(ndim) if translate is None else translate,
        attributes.get("units") or ("pixel",) * ndim,
    )
    return LayerImage(levels, letters, str(attributes.get("name") or "image"), **physical)


def axes_of(labels: Sequence[str], ndim: int, *, rgb: bool) -> str:
    """Letters of a layer's axes: from their labels where these name all of them, else by their number.

    Raises
    ------
    RequestError
        More axes than can be restored.
    """
    letters = [_NAMES.get(str(label).strip().lower(), "") for label in labels]
    if is_named(labels):
        return "".join(letters) + "S" * rgb
    known = _UNNAMED_RGB if rgb else _UNNAMED
    if ndim not in known:
        raise RequestError(
            f"The layer has {ndim} dimensions; images of 2 to {max(known)} can be restored. Select along the rest first"
            " (Layers > Data > Split Stack)."
        )
    return known[ndim]


def is_own(layer: Any) -> bool:
    """Return True for a preview, a trust layer or a growing one, which cannot be restored itself."""
    return any(mark in layer.metadata for mark in (PREVIEW_MARK, TRUST_MARK, GROWING_MARK))


def is_named(labels: Sequence[str]) -> bool:
    """Return True if the labels identify every axis."""
    letters = [_NAMES.get(str(label).strip().lower(), "") for label in labels]
    return all(letters) and len(set(letters)) == len(letters) and {"Y", "X"} <= set(letters)


def _physical(axes: str, scale: Any, translate: Any, units: Any) -> dict[str, Any]:
    names = {a: str(u) for a, u in zip(axes, units, strict=False)}
    return {
        "pixel_size": {a: float(v) for a, v in zip(axes, scale, strict=False)},
        "origin": {a: float(v) for a, v in zip(axes, translate, strict=False)},
        "units": {a: u for a, u in names.items() if u not in ("pixel", "px", "")},
    }


def _is_plain(layer: Any) -> bool:
    matrix = np.asarray(layer.affine.affine_matrix)
    return all(np.allclose(m, np.eye(len(m))) for m in (matrix, np.asarray(layer.rotate), _shear(layer)))


def _shear(layer: Any) -> Any:
    """The layer's shear as a matrix; napari tells the entries above its diagonal."""
    n = layer.ndim
    shear = np.asarray(layer.shear, float)
    if shear.shape == (n, n):
        return shear
    matrix = np.eye(n)
    matrix[np.triu_indices(n, 1)] = shear
    return matrix


def place(layer: Any, ratio: Sequence[float], start: Sequence[float]) -> dict[str, Any]:
    """Attributes of a layer whose pixels lie on those of ``layer``.

    Pixel i of the new image along an axis covers pixels ``ratio (start + i)`` to ``ratio (start + i + 1)`` of
    the source, edge to edge. The shift of its centre is made in data coordinates, before rotation, shear and
    affine, so it holds under any of them.

    Parameters
    ----------
    layer : napari.layers.Image
    ratio : sequence of float
        Source pixels per new pixel along each axis of the layer (without colour).
    start : sequence of float
        Where the new image begins, in new pixels.
    """
    step = np.asarray(ratio, float)
    shift = (step - 1) / 2 + step * np.asarray(start, float)
    scale = np.asarray(layer.scale, float)
    linear = np.asarray(layer.rotate, float) @ _shear(layer) @ np.diag(scale)
    return {
        "scale": scale * step,
        "translate": np.asarray(layer.translate, float) + linear @ shift,
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": layer.affine.affine_matrix,
        "units": layer.units,
        "axis_labels": layer.axis_labels,
    }


def whole_place(layer: Any, axes: str, scale: int) -> dict[str, Any]:
    """Place of the whole image, ``scale`` times finer along Y and X."""
    spatial = axes.replace("S", "")
    return place(layer, [1 / scale if a in "YX" else 1.0 for a in spatial], [0.0] * len(spatial))


def appearance(layer: Any) -> dict[str, Any]:
    """Return the layer's appearance: the result's values are the same quantity, so contrast and colours stay."""
    look: dict[str, Any] = {name: getattr(layer, name) for name in ("rgb", "blending", "opacity", "interpolation2d")}
    if not layer.rgb:
        look |= {
            "contrast_limits": tuple(layer.contrast_limits), "colormap": layer.colormap, "gamma": layer.gamma,
        }  # fmt: skip
    return look
