"""Measure a model's speed on a device: restore one small tile of noise with the real engine."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np

from swin2sr_ops.engine.devices import choose_device
from swin2sr_ops.engine.parallel import usable_cores
from swin2sr_ops.engine.restorer import Restorer
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.geometry.tiles import tile_region
from swin2sr_ops.pixels.intensity import IntensityMap
from swin2sr_ops.spec import ModelSpec

__all__ = ["pixels_per_second"]

_LONG_ENOUGH = 0.5  # seconds
_MOST_CELLS = 16  # per side
_FOREIGN_SIDE = 96  # pixels, approximately
_known: dict[tuple[ModelSpec, str, str, str], float] = {}


def pixels_per_second(restorer: Restorer) -> float:
    """Measure how many pixels, halos included, the network of ``restorer`` computes per second.

    The result is cached per model, device, precision and engine in this process.
    """
    spec = replace(restorer.spec, provenance={}, quality={}, halo_error={}, advice="")
    key = (spec, str(choose_device(restorer.placement.device)), restorer.precision, restorer.placement.engine)
    if key not in _known:
        _known[key] = _measure(restorer)
    return _known[key]


def _measure(restorer: Restorer) -> float:
    # One cell per core suffices; a GPU needs many to be busy.
    on_cpu = choose_device(restorer.placement.device).type == "cpu"
    cells = min(_MOST_CELLS, max(2, math.ceil(math.sqrt(2 * usable_cores())))) if on_cpu else _MOST_CELLS
    side = cells * restorer.plan(1, 1, 1).cell
    if restorer.spec.reach is not None:  # a plugin's network may be large and have large cells
        side = -(-_FOREIGN_SIDE // restorer.spec.window) * restorer.spec.window
    plan = restorer.plan(side, side, side)
    letter = restorer.placement.along or restorer.spec.along or "Z"  # a model of several planes needs them
    noise = np.random.default_rng(0).random((restorer.spec.planes, side, side), np.float32)
    order, one = AxisOrder.of(noise.shape, letter + "YX"), {0: slice(0, 1)}
    tile = restorer.with_planes(next(iter(plan)), order, one)
    noise = noise[tile_region(order, tile, one)]
    restorer.network.engine()  # load the model before the measurement

    def once() -> float:
        began = time.perf_counter()
        restorer.restore_tile(noise, order, tile, [IntensityMap(0.0, 1.0)])
        return time.perf_counter() - began

    seconds = once()
    if seconds < _LONG_ENOUGH:  # the first run also selects kernels and fills caches
        seconds = once()
    return side * side * plan.over_compute / seconds
