"""The trust layer of an image: made in the background, whole or where one looks. No Qt here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from swin2sr_ops.errors import Stopped
from swin2sr_ops.hosting import RunStart, TileDone
from swin2sr_ops_napari.background import Outcome
from swin2sr_ops_napari.layer_run import Stop, Tell, check_memory
from swin2sr_ops_napari.layers import TRUST_MARK, whole_place
from swin2sr_ops_napari.lazy import serve
from swin2sr_ops_napari.memory_io import Pyramid
from swin2sr_ops_napari.outputs import Output, title
from swin2sr_ops_napari.ranges import Maps, exact_maps
from swin2sr_ops_napari.served import Server
from swin2sr_ops_napari.trust import Stored, Trust, interval_for, name_of, report

__all__ = ["Trusted"]

#: Side of a tile, in input pixels.
_TILE = 256
#: Percentile of the map that is drawn brightest.
_BRIGHT = 99.5
#: Share of the displayed contrast that is drawn brightest at least: what is smaller does not matter to the eye.
_LEAST = 0.02


@dataclass
class Trusted(Output):
    """A layer of how far each pixel can be trusted.

    Attributes
    ----------
    calibration : str
        Path of a calibration; empty for none.
    lazy : bool
        Compute the map where one looks instead of whole.
    point : sequence of float
        Pixel index that is shown, along each axis of the data.
    maps : Maps, optional
        The intensity maps of a run, so that they need not be decided again.
    stored : array, optional
        The full-size map that a run wrote, with the image's axes.
    summary : str
        After `work`: what the layer shows.
    """

    calibration: str = ""
    lazy: bool = False
    point: Sequence[float] = ()
    maps: Maps | None = None
    stored: Any = None
    keeps = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.stands_in = False
        self.summary = ""
        self._field: Trust | None = None
        # Refuses a file that does not fit.
        self.interval = interval_for(self.calibration, self.request.restorer(self.image))
        if not self.lazy:
            pixels = math.prod(n for n, a in zip(self.image.shape, self.image.axes, strict=True) if a != "S")
            check_memory(pixels * self._map_scale**2 * 4, "'Lazy layer: restored where you look'")

    @property
    def name(self) -> str:
        """Title of the run."""
        return f"Trust of {self.layer.name}"

    @property
    def _map_scale(self) -> int:
        return self.scale if self.calibration or self.request.ensemble > 1 else 1

    def work(self, tell: Tell, stop: Stop) -> Any:
        """Decide the intensity range as a run does, then compute the map."""
        restorer = self.request.restorer(self.image)
        maps = self.maps or exact_maps(self.image, self.request, tell, stop)
        field = self._field = Trust(self.image, restorer, maps, self.interval)
        if self.lazy:
            self.server = serve(
                self.request.seen(self.image), field if self.stored is None else Stored(field, self.stored)
            )
            self.server.begin(self.point)
            self.summary = report(field, self.contrast)
            return self.server.levels
        target = self._fill(field, tell, stop)
        self.summary = report(field, self.contrast, target.levels[0])
        return target.levels

    def _fill(self, field: Trust, tell: Tell, stop: Stop) -> Pyramid:
        server = Server(self.image, field, _TILE)
        shape = server.levels[0].shape
        target = Pyramid(shape, field.axes, field.dtype, empty=np.nan)
        tiles = list(server.tiles(0, tuple((0, n) for n in shape)))
        tell(RunStart(done=0, total=len(tiles), image=self.layer.name, pixels=target.levels[0].size))
        for done, (view, box) in enumerate(tiles, start=1):
            if stop():
                raise Stopped("The run was stopped.")
            values = field.compute(view, box)
            target.put(tuple(slice(*ends) for ends in server.place(view, box)), values)
            tell(TileDone(done=done, total=len(tiles), tile=str(box), pixels=values.size))
        return target

    def layers(self, outcome: Outcome) -> list[tuple[Any, dict[str, Any]]]:
        """The map, bright where there is little trust; nothing where it was stopped."""
        field = self._field
        if outcome.result is None or field is None:
            return []
        levels = list(outcome.result)
        facts = {
            "trust": field.kind,
            "model": field.restorer.spec.name,
            "layer": self.layer.name,
            "about": self.summary,
        }
        if field.interval is not None:
            facts["claim"] = field.interval.claim
        said = {
            "name": name_of(field, title(self.layer, self.scale)),
            "multiscale": len(levels) > 1,
            "metadata": {TRUST_MARK: facts},
            "colormap": "inferno",
            "blending": "translucent",
            "contrast_limits": (0.0, self._brightest(levels)),
        } | whole_place(self.layer, self.image.axes, field.scale)
        return [(levels if len(levels) > 1 else levels[0], said)]

    def _brightest(self, levels: Sequence[Any]) -> float:
        """Return the value that is drawn brightest; of a lazy map, of what its smallest level has so far."""
        if self.server is None:
            small = levels[0][tuple(slice(None, None, max(n // 2048, 1)) for n in levels[0].shape)]
        else:
            last = self.server.levels[-1]
            small = self.server.known(last.level, tuple((0, n) for n in last.shape))
        known = small[np.isfinite(small)]
        return max(float(np.percentile(known, _BRIGHT)) if known.size else 0.0, self.contrast * _LEAST)

    @property
    def contrast(self) -> float:
        """Difference of the contrast limits with which the image is shown."""
        if self.layer.rgb:
            return 1.0 if self.image.dtype.kind == "f" else float(np.iinfo(self.image.dtype).max)
        low, high = self.layer.contrast_limits
        return float(high - low) or 1.0
