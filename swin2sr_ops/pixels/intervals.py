"""Intervals that hold the true value as often as they say: calibrated half widths, from a file that a user made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import FormatError, OutputError, RequestError
from swin2sr_ops.pixels.intensity import IntensityMap
from swin2sr_ops.spec import ModelSpec

__all__ = ["Calibration", "Interval", "contrast", "read_calibration"]

_KIND = "swin2sr_ops calibration"


@dataclass(frozen=True)
class Calibration:
    """Size of a model's errors, measured on pairs.

    The half width of an interval is ``scale[coverage] * gain[bin] * (spread + floor)``, in fractions of the intensity
    range: ``bin`` is that of the restored value, ``spread`` the standard deviation of an ensemble's passes, or of a
    single pass its `contrast`.

    Attributes
    ----------
    model, weights : str
        Name and SHA-256 of the model.
    ensemble : int
    consistent : str or None
    gain : tuple of float
        One for each of as many equal parts of the intensity range.
    floor : float
    scale : dict of str to float
        By coverage in percent, such as ``"90"``.
    patches, pixels : int
        What it was made from.
    data, degrade : str
        Where the pairs came from.
    fitted_truth : bool
        Truths were brought to the unit of their inputs, so that a difference of units is no error.
    """

    model: str
    weights: str
    ensemble: int
    consistent: str | None
    gain: tuple[float, ...]
    floor: float
    scale: dict[str, float]
    patches: int
    pixels: int
    data: str = ""
    degrade: str = ""
    fitted_truth: bool = False

    def relative(self, values: NDArray[Any], spread: NDArray[Any] | float) -> NDArray[np.float64]:
        """Half widths before ``scale``, for restored ``values`` and ``spread`` in fractions of the intensity range."""
        with np.errstate(invalid="ignore"):
            place = np.nan_to_num(np.clip(values, 0, 1) * len(self.gain)).astype(np.intp)
        gain = np.asarray(self.gain)[np.minimum(place, len(self.gain) - 1)]
        return np.asarray(gain * (np.asarray(spread, np.float64) + self.floor))

    def check_made_for(self, path: str, spec: ModelSpec, ensemble: int, consistent: str | None) -> None:
        """Refuse a run of another model, ensemble or consistency: its errors differ. ``path`` is the file's.

        Raises
        ------
        RequestError
            If one of them differs.
        """
        if (spec.sha256, ensemble, consistent) != (self.weights, self.ensemble, self.consistent):
            raise RequestError(
                f"{path!r} was made for {self.model!r} with ensemble={self.ensemble} and"
                f" consistent={self.consistent!r}, and this run has {spec.name!r}, ensemble={ensemble}"
                f" and consistent={consistent!r}: errors differ. Calibrate for this run, or choose the same."
            )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; ``fitted_truth`` only if true, so that fingerprints of earlier outputs stay as they are."""
        found = {"kind": _KIND} | asdict(self)
        if not self.fitted_truth:
            del found["fitted_truth"]
        return found

    @classmethod
    def from_dict(cls, found: Any) -> Calibration:
        """Read the result of `to_dict`; ValueError, TypeError or KeyError where it is something else."""
        if not isinstance(found, Mapping) or found.get("kind") != _KIND:
            raise ValueError("its field `kind` is missing or different")
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in found.items() if name in known}
        return cls(**(values | {"gain": tuple(map(float, values["gain"]))}))

    def write(self, path: str | PathLike[str]) -> None:
        """Write the file that `read_calibration` reads."""
        try:
            Path(path).write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")
        except OSError as exc:
            raise OutputError(f"The calibration cannot be written to {fspath(path)!r}: {exc}.") from exc


def read_calibration(path: str | PathLike[str]) -> Calibration:
    """Read a file of ``evaluate --calibrate``.

    Raises
    ------
    FormatError
        There is none, or it is another file.
    """
    try:
        return Calibration.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as exc:
        raise FormatError(
            f"{fspath(path)!r} is not a calibration ({exc}): give a file that `swin2sr-ops evaluate --calibrate` wrote."
        ) from exc


@dataclass(frozen=True)
class Interval:
    """A calibration at one coverage."""

    calibration: Calibration
    coverage: str

    @classmethod
    def of(cls, calibration: Calibration, coverage: float) -> Interval:
        """Choose a coverage in percent.

        Raises
        ------
        RequestError
            The calibration has no such coverage.
        """
        text = f"{coverage:g}"
        if text not in calibration.scale:
            known = ", ".join(calibration.scale)
            raise RequestError(
                f"interval={text} cannot be given: this calibration has {known or 'none'}. A higher coverage needs more"
                " patches, for 95 % at least 19."
            )
        return cls(calibration, text)

    def half_width(self, result: NDArray[Any], spread: NDArray[Any], intensity: IntensityMap) -> NDArray[np.float32]:
        """Return half widths in stored units; NaN where the result or the spread is."""
        width = intensity.width or 1.0
        values = (result.astype(np.float64) - intensity.lo) / width
        apart = spread.astype(np.float64) / width
        half = self.calibration.scale[self.coverage] * self.calibration.relative(values, apart) * width
        return np.asarray(np.where(np.isnan(values), np.nan, half), np.float32)

    @property
    def claim(self) -> str:
        """State in words what the half widths promise."""
        made = self.calibration
        unit = ", in the unit of the input, to which the truths were fitted," if made.fitted_truth else ""
        return (
            f"The true value{unit} lies within the result plus or minus the half width in {self.coverage} % of the"
            f" pixels, on average over images like those of the calibration ({made.patches} patches of"
            f" {made.data or 'pairs'}, {made.degrade or 'inputs as given'}); of another sensor,"
            " stain or noise it promises nothing."
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, for the provenance."""
        return {"coverage": float(self.coverage), "claim": self.claim, "calibration": self.calibration.to_dict()}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Interval:
        """Build it from the result of `to_dict`."""
        return cls.of(Calibration.from_dict(found["calibration"]), found["coverage"])


def contrast(result: NDArray[Any], scale: int, y: int, x: int) -> NDArray[np.float32]:
    """Standard deviation of the ``scale`` x ``scale`` new pixels of each pixel, at each of them.

    Errors are larger where a result has edges. Like the pixels themselves this depends on no tile.

    Parameters
    ----------
    result : ndarray
    scale : int
    y, x : int
        Axes of rows and columns.
    """
    pixels = np.moveaxis(result, (y, x), (-2, -1)).astype(np.float64)
    *rest, rows, columns = pixels.shape
    blocks = pixels.reshape(*rest, rows // scale, scale, columns // scale, scale)
    apart = blocks.std((-3, -1)).repeat(scale, -2).repeat(scale, -1)
    return np.asarray(np.moveaxis(apart, (-2, -1), (y, x)), np.float32)
