"""Read an output's provenance for an audit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swin2sr_ops.errors import FormatError
from swin2sr_ops.io.output.journal import OWN_FOLDER
from swin2sr_ops.io.output.provenance import read_provenance
from swin2sr_ops.io.storage.paths import existing_path
from swin2sr_ops.pixels.intensity import IntensityMap
from swin2sr_ops.pixels.intervals import Interval
from swin2sr_ops.pixels.trust import Trust
from swin2sr_ops.run.sides import Sides

__all__ = ["Record", "read_record"]

_NEEDED = ("model", "source", "settings")


@dataclass(frozen=True)
class Record:
    """The provenance of one image.

    Attributes
    ----------
    models, weights : tuple of str
        Names and SHA-256 of the weights, in the same order; a raster may have two.
    source : str
        Location of the run's input.
    source_identity : str
        Digest of the input's sizes, times and metadata; empty in outputs of older versions.
    maps : tuple of IntensityMap
        Used intensity range, of the image or of each channel.
    settings : dict
        The settings that `swin2sr_ops.run.report.provenance_of` wrote.
    """

    models: tuple[str, ...]
    weights: tuple[str, ...]
    source: str
    source_identity: str
    maps: tuple[IntensityMap, ...]
    settings: dict[str, Any]

    @property
    def device(self) -> str:
        """Kind of device, such as ``cuda``."""
        return str(self.settings.get("device", "cpu")).partition(":")[0]

    @property
    def engine(self) -> str:
        """Engine with its version, as in the report."""
        return str(self.settings.get("engine", "torch"))

    @property
    def precision(self) -> str:
        """Precision of the computation."""
        return str(self.settings.get("precision", "float32"))

    @property
    def beside(self) -> tuple[str, ...] | None:
        """Names of the arrays that the run wrote beside the image; None if an earlier version did not note them."""
        found = self.settings.get("beside")
        return tuple(map(str, found)) if isinstance(found, Sequence) and not isinstance(found, str) else None

    @property
    def levels(self) -> int | None:
        """Number of levels that the run wrote; None if it is not noted."""
        found = self.settings.get("levels")
        return found if isinstance(found, int) and found > 0 else None

    def sides(self, opened: Collection[str]) -> Sides:
        """Return what to compute beside the image, if the arrays ``opened`` are compared.

        Trust follows from intervals, whether their array can be read or not.
        """
        interval, trust = self.settings.get("interval"), self.settings.get("not_trusted")
        return Sides(
            "context" in opened,
            "spread" in opened,
            None if interval is None else Interval.from_dict(interval),
            None if trust is None else Trust.from_dict(trust),
        )


def read_record(uri: str) -> Record:
    """Read the provenance of the finished image at ``uri``.

    Raises
    ------
    FormatError
        If there is no provenance, or it lacks what an audit needs.
    """
    path = existing_path(uri)
    found = read_provenance(uri)
    if found is None and path is not None and (path / OWN_FOLDER).exists():
        raise FormatError(f"{uri!r} is not finished: give the command of its run again, then audit the output.")
    if found is None:
        raise FormatError(
            f"{uri!r} has no provenance: an audit needs a finished output of swin2sr-ops, with the provenance in its"
            " metadata."
        )
    settings = found.get("settings")
    if not all(found.get(name) for name in _NEEDED) or not isinstance(settings, Mapping) or "intensity" not in settings:
        raise FormatError(
            f"The provenance of {uri!r} is incomplete: an audit needs the model, the source and the settings with the"
            " intensity range. Restore the image again."
        )
    try:
        maps = tuple(IntensityMap.from_dict(m) for m in settings["intensity"])
    except (TypeError, KeyError, IndexError) as exc:
        raise FormatError(f"The intensity range in the provenance of {uri!r} is not valid: {exc!r}.") from exc
    models, weights = str(found["model"]).split(","), str(found.get("weights_sha256") or "").split(",")
    weights += [""] * (len(models) - len(weights))
    return Record(
        tuple(models),
        tuple(weights),
        str(found["source"]),
        str(found.get("source_identity") or ""),
        maps,
        dict(settings),
    )
