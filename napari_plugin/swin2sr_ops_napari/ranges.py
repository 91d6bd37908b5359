"""The intensity map of a layer, for what is not a whole run: preview and lazy layers. No Qt here.

The map decides pixels, so a preview shows those of the run only if it has the run's map. Where that needs a look
at more pixels than a moment allows, the preview takes what the smallest level shows, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from swin2sr_ops.errors import RequestError
from swin2sr_ops.hosting import (
    IntensityMap,
    RangeRequest,
    RestoreRequest,
    Statistics,
    check_any_valid,
    each_in_threads,
    intensity_maps,
    prepare,
)
from swin2sr_ops_napari.layer_run import Stop, Stopped, Tell
from swin2sr_ops_napari.layers import LayerImage
from swin2sr_ops_napari.memory_io import offer
from swin2sr_ops_napari.request import Request

__all__ = ["Maps", "exact_maps", "quick_maps"]

#: Bytes that are looked at before a preview begins.
_QUICK = 64 << 20


@dataclass(frozen=True)
class Maps:
    """One intensity map, or one per channel; ``exact`` where a run would have the same."""

    maps: tuple[IntensityMap, ...]
    exact: bool = True

    def of(self, channel: int) -> IntensityMap:
        """The map of a channel."""
        return self.maps[channel if len(self.maps) > 1 else 0]


def exact_maps(image: LayerImage, request: Request, tell: Tell = lambda event: None, stop: Stop = bool) -> Maps:
    """Return the maps of a run of the whole layer; read all pixels unless the request or 8 bits determine the range."""
    wanted = RangeRequest.parse(request.range)
    known = None if wanted.kind == "like" else wanted.immediate(image.dtype)
    if known is not None:
        return Maps((known,))

    def each(function: Any, items: Any, done: Any) -> None:
        def until_stopped(item: Any, result: Any) -> None:
            if stop():
                raise Stopped
            done(item, result)

        each_in_threads(function, items, until_stopped)

    with offer(image) as source:
        job = prepare(source, RestoreRequest(model=request.model, range=request.range, device="cpu", tile=256))
        return Maps(intensity_maps(job, tell, each))


def quick_maps(image: LayerImage, request: Request) -> Maps:
    """The exact maps where they are to be had at once, else those of the smallest level."""
    known = RangeRequest.parse(request.range).immediate(image.dtype)
    if known is not None or image.nbytes <= _QUICK or isinstance(image.levels[0], np.ndarray):
        return exact_maps(image, request)
    return Maps(_of_array(replace(image, levels=(image.levels[-1],)), request), exact=False)


def _of_array(image: LayerImage, request: Request) -> tuple[IntensityMap, ...]:
    """Maps of a small level, thinned out where it is not small."""
    order, array = image.order(), image.levels[0]
    step = 1
    while image.nbytes // step**2 > _QUICK:
        step *= 2
    block = np.asarray(array[tuple(slice(None, None, step) if a in "YX" else slice(None) for a in image.axes)])
    wanted = RangeRequest.parse(request.range)
    wanted = replace(wanted, sample=False)
    block = block[order.without_alpha]
    first = Statistics.of(block, order.channel, None, wanted)
    try:
        check_any_valid([first])
    except RequestError:
        return (IntensityMap(0.0, 1.0),)
    if wanted.looks(image.dtype) == 1:
        return first.maps(wanted, image.dtype)
    return Statistics.of(block, order.channel, None, wanted, first).maps(wanted, image.dtype, first)
