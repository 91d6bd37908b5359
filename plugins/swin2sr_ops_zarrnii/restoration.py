"""Restore lazily in the full-resolution pass; on request, measure the intensity range in the low-resolution pass."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import pluggy

from swin2sr_ops.errors import RequestError

if TYPE_CHECKING:
    from swin2sr_ops import ModelSpec

__all__ = ["NAME", "TOLD", "Restoration"]

NAME = "Swin2SR restoration"
TOLD = (
    "Denoising and removal of JPEG artefacts with Swin2SR and SwinIR, plane by plane, without seams; any model that"
    " keeps the image's size."
)
_AXES = {2: "YX", 3: "ZYX", 4: "CZYX", 5: "TCZYX"}
_CHOOSE = (
    "Choose a model that keeps the image's size (scale 1), by name or by file:"
    " znimg.apply_scaled_processing(Restoration(model=...))."
)
#: ZarrNii's marker: the same as `zarrnii.plugins.hookimpl`, without importing ZarrNii.
hookimpl = pluggy.HookimplMarker("zarrnii")


class Restoration:
    """Restore with a model of scale 1.

    Parameters
    ----------
    model : str, path or ModelSpec, optional
        A name or a checkpoint; it must keep the image's size. There is no default.
    axes : str, optional
        One letter per dimension; by default ``"CZYX"`` or its last or first letters.
    range : str or pair
        As in `swin2sr_ops.restore`, with the same pixels; or ``"lowres"``: smallest and largest
        value, per channel, of ZarrNii's low-resolution pass, so that the image is read once instead of
        twice. Values outside are kept.
    halo, tile, device, precision, engine, nodata
        As in `swin2sr_ops.restore`.

    Examples
    --------
    >>> Restoration(model="swinir-denoise-gray-25").scaled_processing_plugin_name()
    'Swin2SR restoration'
    """

    def __init__(
        self,
        model: str | PathLike[str] | ModelSpec | None = None,
        *,
        axes: str | None = None,
        range: str | Sequence[float] = "auto",
        nodata: float | None = None,
        **options: Any,
    ) -> None:
        beside = [name for name in ("interval", "spread") if options.get(name)]
        if beside:
            raise RequestError(
                f"ZarrNii stores one image, so {beside[0]} has no place: write an OME-Zarr with `swin2sr-ops restore"
                f" --{beside[0]}`."
            )
        self.model, self.axes, self.range, self.nodata = model, axes, range, nodata
        self.options = options
        self._found: list[tuple[float, float] | None] = []  # per channel

    def __repr__(self) -> str:
        return f"Restoration(model={self.model!r}, range={self.range!r})"

    @hookimpl
    def scaled_processing_plugin_name(self) -> str:
        """Return the plugin's name."""
        return NAME

    @hookimpl
    def scaled_processing_plugin_description(self) -> str:
        """Return the plugin's description."""
        return TOLD

    @hookimpl
    def lowres_func(self, lowres_array: Any) -> Any:
        """Record smallest and largest value; ZarrNii enlarges the returned array, which is not used.

        Raises
        ------
        RequestError
            If no model was chosen; raised before anything is computed.
        """
        import numpy as np

        self._check_chosen()
        low = np.asarray(lowres_array)
        self._found = [] if self.range != "lowres" else [_ends(part) for part in self._channels(low)]
        # Zeros of one byte: ZarrNii writes this to disk at full size, where empty chunks take no space.
        return np.zeros(low.shape, np.uint8)

    @hookimpl
    def highres_func(self, fullres_array: Any, upsampled_output: Any = None) -> Any:
        """Restore lazily.

        Parameters
        ----------
        fullres_array : dask.array.Array
            The image.
        upsampled_output : object
            Unused.

        Raises
        ------
        RequestError
            If the array is no Dask array: ZarrNii's ``method="map_blocks"`` gives blocks without their
            surroundings, and the result would have seams.
        ModelError
            If the model does not keep the image's size.
        """
        import dask.array as da

        self._check_chosen()
        if not isinstance(fullres_array, da.Array):
            raise RequestError(
                "Blocks without their surroundings cannot be restored without seams: use ZarrNii's"
                " method='default', which gives the whole image as a Dask array."
            )
        # Low-resolution pixels mix nodata with valid pixels, so they are unusable then; 8 bits use the full range.
        looked = self.range == "lowres" and fullres_array.dtype.itemsize > 1 and self.nodata is None
        if not looked:
            return self._restored(fullres_array, "auto" if self.range == "lowres" else self.range)
        parts = self._channels(fullres_array)
        restored = [self._restored(part, ends) for part, ends in zip(parts, self._ranges(len(parts)), strict=True)]
        return restored[0] if len(parts) == 1 else da.concatenate(restored, axis=self._axes(parts[0].ndim).index("C"))

    def _restored(self, array: Any, ends: str | Sequence[float]) -> Any:
        import swin2sr_ops

        assert self.model is not None
        return swin2sr_ops.restore(
            array,
            model=self.model,
            axes=self._axes(array.ndim),
            scale=1,
            range=ends,
            nodata=self.nodata,
            **self.options,
        )

    def _check_chosen(self) -> None:
        if self.model is None:
            from swin2sr_ops import list_models

            names = ", ".join(spec.name for spec in list_models(scale=1, channels=1)[:4])
            raise RequestError(f"{_CHOOSE} Some names: {names}; `swin2sr-ops models` lists all.")

    def _axes(self, ndim: int) -> str:
        axes = self.axes or _AXES.get(ndim)
        if axes is None:
            raise RequestError(f"The image has {ndim} dimensions: give axes, one letter for each.")
        return axes

    def _channels(self, array: Any) -> list[Any]:
        """Split ``array`` into channels; a last C is colour, which shares a range."""
        axes = self._axes(array.ndim)
        if "C" not in axes[:-1]:
            return [array]
        before = (slice(None),) * axes.index("C")
        return [array[(*before, slice(c, c + 1))] for c in range(array.shape[len(before)])]

    def _ranges(self, channels: int) -> list[str | tuple[float, float]]:
        """Return the range for `swin2sr_ops.restore`, per channel."""
        if len(self._found) != channels or None in self._found:
            raise RequestError(
                f"The intensity range of {channels} channel(s) comes from the low-resolution pass, but it found"
                f" {len(self._found) - self._found.count(None)}: run the plugin with apply_scaled_processing, or give"
                " a range."
            )
        return ["auto" if ends is None or ends[0] >= ends[1] else ends for ends in self._found]


def _ends(low: Any) -> tuple[float, float] | None:
    """Return smallest and largest value; None if no pixel is valid."""
    import numpy as np

    valid = low[np.isfinite(low)]
    return (float(valid.min()), float(valid.max())) if valid.size else None
