"""Choose where an audit computes: as the run did, or elsewhere within a stated bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from swin2sr_ops.audit.record import Record
from swin2sr_ops.engine.devices import choose_device
from swin2sr_ops.engine.runner import Placed
from swin2sr_ops.engine.select import ENGINES, check_engine, computes_in_torch
from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.back_projection import gain_of

__all__ = ["BOUND", "Agreement", "placement_of"]

#: Largest difference between two engines or devices, as a fraction of the intensity range: in float32 (and float64),
#: and if one of the two computes in bfloat16. The same bounds decide if this package's kernels are used.
BOUND = {False: 2e-5, True: 3e-2}


@dataclass(frozen=True)
class Agreement:
    """The accepted difference between the run's and the audit's pixels.

    Attributes
    ----------
    bound : float
        0 for bit-for-bit equality, else the largest allowed difference as a fraction of the intensity range.
    here, there : str
        Where the audit and the run computed, as text.
    """

    bound: float
    here: str
    there: str

    @classmethod
    def of(cls, record: Record, placed: Placed, torch: str) -> Agreement:
        """Compare where the run computed with where the audit computes.

        ``torch`` is the version that computes pixels of the audit, or empty: earlier versions recorded torch's version
        for every engine.
        """
        recorded = str(record.settings.get("torch", torch)) if torch or computes_in_torch(record.engine) else ""
        run = (record.device, record.precision, record.engine, recorded)
        audit = (placed.kind, placed.precision, placed.engine, torch)
        half = "bfloat16" in (record.precision, placed.precision)
        gain = gain_of(record.settings.get("consistent"), int(record.settings.get("scale", 1)))
        return cls(0.0 if run == audit else gain * BOUND[half], _words(*audit), _words(*run))

    def allowed(self, width: float, dtype: np.dtype[Any]) -> float:
        """Return the largest allowed difference in stored units, for an intensity range of ``width``."""
        if not self.bound:
            return 0.0
        if dtype.kind != "f":  # two close numbers may round to adjacent integers
            return float(np.floor(self.bound * width)) + 1
        return self.bound * width + float(np.finfo(dtype).eps) * width

    def __str__(self) -> str:
        if not self.bound:
            return "bit for bit"
        return f"within {self.bound:g} of the intensity range (the run: {self.there}; the audit: {self.here})"


def placement_of(record: Record, device: str | None, precision: str | None, engine: str | None) -> dict[str, Any]:
    """Return device, precision and engine of the audit: by default the run's, if they work on this machine."""
    found = device or _device(record.device)
    same = found.partition(":")[0] == record.device
    if precision is None:
        precision = record.precision if same else "float32"
    if engine is None:
        engine = _engine(record.engine.split()[0], precision) if same else "auto"
    return {"device": found, "precision": precision, "engine": engine}


def _device(kind: str) -> str:
    try:
        choose_device(kind)
    except RequestError:  # this machine lacks the run's device
        return "cpu"
    return kind


def _engine(name: str, precision: str) -> str:
    try:
        return check_engine(name, precision) if name in ENGINES else "auto"
    except RequestError:  # no compiler, or not installed
        return "auto"


def _words(device: str, precision: str, engine: str, torch: str) -> str:
    return f"{engine} on {device} in {precision}" + (f", torch {torch}" if torch else "")
