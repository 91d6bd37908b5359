"""Provide the built-in models and formats through the same hooks that plugins use."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from swin2sr_ops.errors import FormatError
from swin2sr_ops.hookspecs import hookimpl

if TYPE_CHECKING:
    from swin2sr_ops.io.base import ImageInfo, ImageSink, ImageSource
    from swin2sr_ops.io.output.options import FormatOption
    from swin2sr_ops.nets.network import SwinNet
    from swin2sr_ops.spec import ModelSpec

_SINKS = ("geo.cog_sink", "tiff.sink", "picture", "zarr.sink")
_MOST_BYTES = 1 << 54  # limit for the pixels of one image


@hookimpl(trylast=True)
def swin2sr_ops_model_specs() -> Iterable[ModelSpec]:
    """List the shipped models, then the released ones."""
    from swin2sr_ops.weights.catalogue import all_models

    return all_models()


@hookimpl(trylast=True)
def swin2sr_ops_build_network(spec: ModelSpec) -> SwinNet | None:
    """Build a Swin2SR or SwinIR network."""
    if spec.reach is not None:
        return None
    from swin2sr_ops.weights.loader import load_network

    return load_network(spec)


@hookimpl(trylast=True)
def swin2sr_ops_open_source(uri: str, options: dict[str, Any]) -> ImageSource | None:
    """Open Zarr and OME-Zarr folders, GeoTIFF, TIFF, PNG and JPEG files, and the package's samples."""
    if uri.startswith("sample:"):
        from swin2sr_ops.io.samples import sample_path

        uri = str(sample_path(uri))
    # Import only the formats that may be needed: a folder is never a TIFF.
    formats = ("zarr.source",) if os.path.isdir(uri) else ("geo.source", "tiff.source", "picture", "zarr.source")
    for name in formats:
        if name == "tiff.source":
            _check_georeference(uri)
        source: ImageSource | None = import_module(f"swin2sr_ops.io.{name}").open_source(uri, **options)
        if source is not None:
            _check_claim(uri, source.info)
            return source
    return None


def _check_claim(uri: str, info: ImageInfo) -> None:
    """Reject an image larger than any disk: planning its tiles would never end."""
    if info.nbytes > _MOST_BYTES:
        shape = " x ".join(map(str, info.shape))
        raise FormatError(f"{uri!r} is damaged: it claims {shape} pixels, which no disk holds.")


def _check_georeference(uri: str) -> None:
    """Warn that a raster's georeference will be lost if rasterio is missing."""
    if find_spec("rasterio") is None and not uri.startswith(("memory:", "/vsi")):
        from swin2sr_ops.io.geo.source import is_geotiff

        if os.path.isfile(uri) and is_geotiff(uri):
            warnings.warn(
                f"{uri!r} is a GeoTIFF: without rasterio its coordinates, bands' names and masks are lost. Install"
                " swin2sr-ops[geo] to keep them.",
                stacklevel=2,
            )


@hookimpl(trylast=True)
def swin2sr_ops_create_sink(uri: str, info: ImageInfo, options: dict[str, Any]) -> ImageSink | None:
    """Create an OME-Zarr; a COG if the image is georeferenced, TIFF or PNG by suffix."""
    options = {name: value for name, value in options.items() if name != "parallel"}  # all of them can
    for name in _SINKS:
        sink: ImageSink | None = import_module(f"swin2sr_ops.io.{name}").create_sink(uri, info, **options)
        if sink is not None:
            return sink
    return None


@cache
def format_options() -> Mapping[str, FormatOption]:
    """Return the options of all built-in formats by name; those of one name mean the same."""
    found: dict[str, FormatOption] = {}
    for name in _SINKS:
        found |= import_module(f"swin2sr_ops.io.{name}").OPTIONS
    return MappingProxyType(found)
