"""Provide the names of the core that host adapters may use, in addition to the public names of `swin2sr_ops`.

An adapter (napari, xarray, QGIS, Fractal, ...) translates its host's contract to the public functions. This module
lists everything else that it needs, by purpose; an adapter uses no other part of the core. Names load on first use,
so importing this module costs nothing.

Describe a host
    `HostAdapter`, `HostStatus`: an adapter's description of its application.
Read and write images
    `ImageInfo`, `ImageSource`, `ImageSink`, `Region`, `check_region`, `check_block`: the protocols of formats. Each
    further ability of a format has its own protocol: `MaskedSource`, `OpacitySource` (invalid pixels),
    `IdentifiedSource`, `ComposedSource` (identity of a source, its files), `ClosableSource`; `ResumableSink`,
    `ValiditySink`, `SidesSink` (masks of the output, values beside the image). `is_disk_full` recognizes an error of
    a full disk.
    `TIFF_SUFFIXES`, `PICTURE_SUFFIXES` and `RASTER_SUFFIXES` list the suffixes that the core reads itself.
    `plugin_manager` registers a source or a sink for the duration of a run; `local_path`, `Files`, `files_at`,
    `lock_for`, `acquire` (waits for a lock's holder): files and objects, in any storage.
Read and write Zarr groups
    `open_node`, `zarr_root`, `ome_attributes`, `group_documents`, `open_collection`, `write_metadata`.
Make pyramids
    `level_shapes`, `halve`, `fill_region`, `regions`.
Know models and devices
    `resolve_model`, `download_model`, `place_of` (where a download lies, or will), `cache_folder`, `file_sha256`,
    `read_tensors`, `Reach`, `find_reach` (how far a foreign network sees), `remembered_facts`, `remember_facts` (what
    such a look found, cached), `pad_by_reflection` (to a size that a network takes), `ENGINES`, `choose_device`,
    `free_memory`, `needs_torch`; `model_of_quality`, `views_of`: the words ``fast``, ``good`` and ``best``.
Offer options
    `OPTIONS`: every keyword of a request with its default and help texts, for a host's command line or form; `SIDES`:
    the same of the output's options that judge the result.
Plan tiles
    `AxisOrder`, `Halo`, `Span`, `Tile`, `tile_region`, `tile_size`, `CHUNK`, `MEMORY_SHARE`, `CELL_WINDOWS`.
Map intensities
    `IntensityMap`, `RangeRequest`, `Statistics`, `check_any_valid`, `check_dtype`, `intensity_maps`,
    `each_in_threads`.
Judge a result
    `fidelity_map` maps where a result contradicts its input; `read_calibration`, `Interval` and `contrast` give half
    widths; `advise` measures an image and recommends a model (`AdviceReport`).
Run
    `prepare` resolves a `RestoreRequest` to a `Job`; `run` executes it, stops if ``stop()`` is true, and passes each
    finished block to ``on_block``; `provenance_of` returns the provenance that a run writes into its output.
    `network_pixels` and `seconds_of` estimate a job's time.
Train
    `train` learns from noisy images alone, such as a layer's: an `ImageSource`.
Show progress
    `Event` has ``kind``, ``done`` and ``total``; `RunStart`, `TileDone` and `PyramidProgress` are events.

Examples
--------
>>> from swin2sr_ops import hosting
>>> hosting.AxisOrder.of((3, 64, 64), "CYX").planes
(0,)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swin2sr_ops.advise.api import AdviceReport as AdviceReport, advise as advise
    from swin2sr_ops.batch.estimate import network_pixels as network_pixels, seconds_of as seconds_of
    from swin2sr_ops.engine.devices import choose_device as choose_device, free_memory as free_memory
    from swin2sr_ops.engine.reach import find_reach as find_reach
    from swin2sr_ops.engine.select import ENGINES as ENGINES, needs_torch as needs_torch
    from swin2sr_ops.evaluate.fidelity import fidelity_map as fidelity_map
    from swin2sr_ops.events import (
        Event as Event,
        PyramidProgress as PyramidProgress,
        RunStart as RunStart,
        TileDone as TileDone,
    )
    from swin2sr_ops.geometry.axes import AxisOrder as AxisOrder
    from swin2sr_ops.geometry.plan import CELL_WINDOWS as CELL_WINDOWS, Span as Span, Tile as Tile
    from swin2sr_ops.geometry.tiles import (
        CHUNK as CHUNK,
        MEMORY_SHARE as MEMORY_SHARE,
        tile_region as tile_region,
        tile_size as tile_size,
    )
    from swin2sr_ops.hooks.dispatch import manager, resolve_model as resolve_model
    from swin2sr_ops.hooks.hosts import HostAdapter as HostAdapter, HostStatus as HostStatus
    from swin2sr_ops.io.base import (
        PICTURE_SUFFIXES as PICTURE_SUFFIXES,
        RASTER_SUFFIXES as RASTER_SUFFIXES,
        TIFF_SUFFIXES as TIFF_SUFFIXES,
        ClosableSource as ClosableSource,
        ComposedSource as ComposedSource,
        IdentifiedSource as IdentifiedSource,
        ImageInfo as ImageInfo,
        ImageSink as ImageSink,
        ImageSource as ImageSource,
        MaskedSource as MaskedSource,
        OpacitySource as OpacitySource,
        Region as Region,
        SidesSink as SidesSink,
        ValiditySink as ValiditySink,
        check_block as check_block,
        check_region as check_region,
    )
    from swin2sr_ops.io.output.destination import is_disk_full as is_disk_full
    from swin2sr_ops.io.output.lock import acquire as acquire, lock_for as lock_for
    from swin2sr_ops.io.output.pyramid import (
        fill_region as fill_region,
        halve as halve,
        level_shapes as level_shapes,
        regions as regions,
    )
    from swin2sr_ops.io.output.staging import ResumableSink as ResumableSink
    from swin2sr_ops.io.storage.files import Files as Files, files_at as files_at
    from swin2sr_ops.io.storage.paths import local_path as local_path
    from swin2sr_ops.io.zarr.collection import open_collection as open_collection
    from swin2sr_ops.io.zarr.groups import group_documents as group_documents, write_metadata as write_metadata
    from swin2sr_ops.io.zarr.ngff import ome_attributes as ome_attributes
    from swin2sr_ops.io.zarr.store import open_node as open_node, zarr_root as zarr_root
    from swin2sr_ops.nets.padding import pad_by_reflection as pad_by_reflection
    from swin2sr_ops.options import OPTIONS as OPTIONS, SIDES as SIDES
    from swin2sr_ops.pixels.intensity import (
        IntensityMap as IntensityMap,
        RangeRequest as RangeRequest,
        check_dtype as check_dtype,
    )
    from swin2sr_ops.pixels.intervals import (
        Interval as Interval,
        contrast as contrast,
        read_calibration as read_calibration,
    )
    from swin2sr_ops.pixels.statistics import Statistics as Statistics, check_any_valid as check_any_valid
    from swin2sr_ops.placement import Halo as Halo
    from swin2sr_ops.request import RestoreRequest as RestoreRequest
    from swin2sr_ops.run.job import Job as Job, prepare as prepare
    from swin2sr_ops.run.ranges import each_in_threads as each_in_threads, intensity_maps as intensity_maps
    from swin2sr_ops.run.report import provenance_of as provenance_of
    from swin2sr_ops.run.run import run as run
    from swin2sr_ops.spec import Reach as Reach
    from swin2sr_ops.training.api import train as train
    from swin2sr_ops.weights.checkpoint import read_tensors as read_tensors
    from swin2sr_ops.weights.digest import file_sha256 as file_sha256
    from swin2sr_ops.weights.download import cache_folder as cache_folder, fetch, place_of as place_of
    from swin2sr_ops.weights.facts import remember_facts as remember_facts, remembered_facts as remembered_facts
    from swin2sr_ops.weights.qualities import model_of_quality as model_of_quality, views_of as views_of

    download_model, plugin_manager = fetch, manager

_HOMES = {
    "AdviceReport": "advise.api",
    "AxisOrder": "geometry.axes",
    "CELL_WINDOWS": "geometry.plan",
    "CHUNK": "geometry.tiles",
    "ClosableSource": "io.base",
    "ComposedSource": "io.base",
    "ENGINES": "engine.select",
    "Event": "events",
    "Files": "io.storage.files",
    "Halo": "placement",
    "HostAdapter": "hooks.hosts",
    "HostStatus": "hooks.hosts",
    "IdentifiedSource": "io.base",
    "ImageInfo": "io.base",
    "ImageSink": "io.base",
    "ImageSource": "io.base",
    "IntensityMap": "pixels.intensity",
    "Interval": "pixels.intervals",
    "Job": "run.job",
    "MEMORY_SHARE": "geometry.tiles",
    "MaskedSource": "io.base",
    "OPTIONS": "options",
    "OpacitySource": "io.base",
    "PICTURE_SUFFIXES": "io.base",
    "PyramidProgress": "events",
    "RASTER_SUFFIXES": "io.base",
    "RangeRequest": "pixels.intensity",
    "Reach": "spec",
    "Region": "io.base",
    "RestoreRequest": "request",
    "ResumableSink": "io.output.staging",
    "RunStart": "events",
    "SIDES": "options",
    "SidesSink": "io.base",
    "Span": "geometry.plan",
    "Statistics": "pixels.statistics",
    "TIFF_SUFFIXES": "io.base",
    "Tile": "geometry.plan",
    "TileDone": "events",
    "ValiditySink": "io.base",
    "acquire": "io.output.lock",
    "advise": "advise.api",
    "cache_folder": "weights.download",
    "check_any_valid": "pixels.statistics",
    "check_block": "io.base",
    "check_region": "io.base",
    "check_dtype": "pixels.intensity",
    "choose_device": "engine.devices",
    "contrast": "pixels.intervals",
    "download_model": "weights.download:fetch",
    "each_in_threads": "run.ranges",
    "fidelity_map": "evaluate.fidelity",
    "file_sha256": "weights.digest",
    "files_at": "io.storage.files",
    "fill_region": "io.output.pyramid",
    "find_reach": "engine.reach",
    "free_memory": "engine.devices",
    "group_documents": "io.zarr.groups",
    "halve": "io.output.pyramid",
    "intensity_maps": "run.ranges",
    "is_disk_full": "io.output.destination",
    "level_shapes": "io.output.pyramid",
    "local_path": "io.storage.paths",
    "lock_for": "io.output.lock",
    "model_of_quality": "weights.qualities",
    "needs_torch": "engine.select",
    "network_pixels": "batch.estimate",
    "ome_attributes": "io.zarr.ngff",
    "open_collection": "io.zarr.collection",
    "open_node": "io.zarr.store",
    "pad_by_reflection": "nets.padding",
    "place_of": "weights.download",
    "plugin_manager": "hooks.dispatch:manager",
    "prepare": "run.job",
    "provenance_of": "run.report",
    "read_calibration": "pixels.intervals",
    "read_tensors": "weights.checkpoint",
    "regions": "io.output.pyramid",
    "remember_facts": "weights.facts",
    "remembered_facts": "weights.facts",
    "resolve_model": "hooks.dispatch",
    "run": "run.run",
    "seconds_of": "batch.estimate",
    "tile_region": "geometry.tiles",
    "tile_size": "geometry.tiles",
    "train": "training.api",
    "views_of": "weights.qualities",
    "write_metadata": "io.zarr.groups",
    "zarr_root": "io.zarr.store",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605  (names of strings, made above)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, renamed = _HOMES[name].partition(":")
    return getattr(import_module(f"swin2sr_ops.{module}"), renamed or name)


def __dir__() -> list[str]:
    return __all__
