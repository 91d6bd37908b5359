"""Report the results of an evaluation as text, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from swin2sr_ops.io.base import json_ready

__all__ = ["COLUMNS", "Evaluation", "Scores"]

#: Figure -> its heading and decimals.
COLUMNS: dict[str, tuple[str, int]] = {
    "psnr": ("PSNR", 2),
    "ssim": ("SSIM", 4),
    "psnr_y": ("PSNR-Y", 2),
    "ssim_y": ("SSIM-Y", 4),
    "psnr_b": ("PSNR-B", 2),
    "psnr_b_y": ("PSNR-B-Y", 2),
    "si_psnr": ("SI-PSNR", 2),
    "frc": ("FRC", 3),
    "rse": ("RSE", 3),
    "rsp": ("RSP", 4),
    "decorrelation": ("decorrelation", 3),
    "fidelity": ("fidelity", 2),
    "opensr_reflectance": ("reflectance", 5),
    "opensr_spectral": ("spectral", 3),
    "opensr_spatial": ("spatial", 3),
    "opensr_synthesis": ("synthesis", 5),
    "opensr_improvement": ("improvement", 3),
    "opensr_omission": ("omission", 3),
    "opensr_hallucination": ("hallucination", 3),
}


@dataclass
class Scores:
    """Figures of one model for each image.

    Attributes
    ----------
    model : str
        Name of the model; ``bicubic`` or ``input`` for the baseline.
    images : dict
        Name of an image -> figure -> value.
    """

    model: str
    images: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def mean(self) -> dict[str, float]:
        """Mean over images of each figure that all of them have."""
        rows = list(self.images.values())
        common = [name for name in rows[0] if all(name in row for row in rows)] if rows else []
        return {name: float(np.mean([row[name] for row in rows])) for name in common}

    def to_dict(self) -> dict[str, Any]:
        """Return ``model``, ``mean`` and ``images`` as a dict that can be stored as JSON."""
        images = [{"name": name, **row} for name, row in self.images.items()]
        found: dict[str, Any] = json_ready({"model": self.model, "mean": self.mean, "images": images})
        return found


@dataclass
class Evaluation:
    """Measurements of models on one folder.

    Attributes
    ----------
    protocol : dict
        Settings of the measurement: ``data``, ``scale``, ``degrade``, ``padding``, ``border``, ``data_range``, ...
    models : list of Scores
        One per model, in the given order.
    baseline : Scores or None
        Bicubic enlargement, or the input itself at scale 1.
    shown : tuple of str
        Figures that tables show, keys of `COLUMNS`; JSON has all.
    """

    protocol: dict[str, Any]
    models: list[Scores]
    baseline: Scores | None = None
    shown: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the protocol; add ``mean`` and ``images`` for one model, a list ``models`` of these for several."""
        found: dict[str, Any] = json_ready(self.protocol)
        listed = [scores.to_dict() for scores in self.models]
        found |= listed[0] if len(listed) == 1 else {"models": listed}
        return found | ({} if self.baseline is None else {"baseline": self.baseline.to_dict()})

    def __str__(self) -> str:
        rows = self._rows()
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([self._title(), "", *lines])

    def markdown(self) -> str:
        """Return a Markdown table in GitHub's format, with the protocol as its caption."""
        head, *rows = self._rows()
        lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
        return "\n".join([self._title(), "", *("| " + " | ".join(line) + " |" for line in lines)])

    def _title(self) -> str:
        p = self.protocol
        how = [f"x{p['scale']}", str(p["degrade"]), f"border {p['border']} px", f"padding {p['padding']}"]
        how += [f"range {p['data_range']}"] if p["data_range"] != "0,255" else []
        figures = " / ".join(COLUMNS[name][0] for name in self.shown)
        count = len(self.models[0].images)
        return f"{p['data']}: {count} image{'s' * (count != 1)}, {', '.join(how)}; {figures}"

    def _rows(self) -> list[list[str]]:
        methods = [*([self.baseline] if self.baseline else []), *self.models]
        head = ["image", *(scores.model for scores in methods)]
        body = [[name, *(self._cell(s.images[name]) for s in methods)] for name in self.models[0].images]
        return [head, *body, ["mean", *(self._cell(s.mean) for s in methods)]]

    def _cell(self, row: dict[str, float]) -> str:
        return " / ".join(_number(row, name) for name in self.shown)


def _number(row: dict[str, float], name: str) -> str:
    return f"{row[name]:.{COLUMNS[name][1]}f}" if name in row else "-"


def shown_by_default(*, scale: int, colour: bool, jpeg: bool, only_inputs: bool) -> tuple[str, ...]:
    """Choose the usual figures: Y for super-resolution of colour, else all channels; PSNR-B with JPEG."""
    if only_inputs:
        return ("fidelity",)
    if scale > 1 and colour:
        return ("psnr_y", "ssim_y")
    return ("psnr", "ssim", "psnr_b") if jpeg else ("psnr", "ssim")


def unknown(names: Sequence[str]) -> list[str]:
    """List the ``names`` that are not figures."""
    return [name for name in names if name not in COLUMNS]
