"""An OME-Zarr on disk with what it says about trust, and a layer that shows it. No Qt here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from swin2sr_ops import RunReport
from swin2sr_ops.hosting import IntensityMap
from swin2sr_ops_napari.background import Outcome
from swin2sr_ops_napari.layer_run import Stop, Tell
from swin2sr_ops_napari.outputs import Disk
from swin2sr_ops_napari.ranges import Maps
from swin2sr_ops_napari.stored import array_beside
from swin2sr_ops_napari.trusted import Trusted

__all__ = ["DiskWithTrust"]

#: Share of the displayed contrast above which a contradiction is flagged in the file.
_FLAGGED = 0.02
_FLAGS = "labels/not_trusted"


@dataclass
class DiskWithTrust(Disk):
    """An OME-Zarr with half widths, the spread of the views, or flags of contradictions; and a layer of them.

    Attributes
    ----------
    calibration : str
        Path of a calibration; empty for none.
    point : sequence of float
        Pixel index that is shown, along each axis of the data.
    """

    calibration: str = ""
    point: Sequence[float] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._trusted = Trusted(self.layer, self.image, self.request, self.calibration, True, self.point)
        self.beside_options = self._options()

    def _options(self) -> dict[str, Any]:
        trusted = self._trusted
        if trusted.interval is not None:
            return {"interval": float(trusted.interval.coverage), "calibration": self.calibration}
        if self.request.ensemble > 1:
            return {"spread": True}
        return {"noise": float(f"{trusted.contrast * _FLAGGED:.3g}")}

    @property
    def about(self) -> str:
        """A sentence on what the file holds, and what its layer shows."""
        holds = "holds the trust map"
        if self._name == _FLAGS:
            holds = f"flags contradictions above {self.beside_options['noise']:g}"
        return f"In the folder, {self._name} {holds}. {self._trusted.summary}"

    @property
    def _name(self) -> str:
        """Where the map lies in the folder."""
        return next((name for name in ("interval", "spread") if name in self.beside_options), _FLAGS)

    def work(self, tell: Tell, stop: Stop) -> RunReport:
        """Write the output, and make the layer from it."""
        report = super().work(tell, stop)
        trusted, channel = self._trusted, None if self.file is None else self.file.channel
        trusted.maps = _maps(report, channel)
        if trusted.maps is None and channel is None:  # finished before: its metadata say the range
            trusted.request = replace(self.request, range=f"like:{self.path}")
        if self._name != _FLAGS:
            trusted.stored = array_beside(self.path, self._name, self.image.axes, channel)
        levels = trusted.work(tell, stop)
        self.server, self._beside = trusted.server, trusted.layers(Outcome(levels))
        for _, said in self._beside:
            said["metadata"]["swin2sr_ops"] = {"uri": f"{self.path}/{self._name}", "layer": said["name"]}
        return report

    def beside(self) -> list[tuple[Any, dict[str, Any]]]:
        """The trust layer."""
        return self._beside


def _maps(report: RunReport, channel: int | None) -> Maps | None:
    """Return the intensity maps of a run; None if its report lacks them."""
    found = [IntensityMap.from_dict(known) for known in report.settings.get("intensity") or ()]
    if channel is not None and len(found) > 1:
        found = found[channel : channel + 1]
    return Maps(tuple(found)) if found else None
