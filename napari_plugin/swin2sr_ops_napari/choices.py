"""The models that a layer can be restored with, each described in a line; nothing is loaded for it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from swin2sr_ops import ModelSpec, list_models

__all__ = ["Choice", "advice", "choices", "fetch", "needs_download", "overlaps"]

#: Tasks in plain words, in the order of the list.
_TASKS = {
    "classical_sr": "enlarges",
    "lightweight_sr": "enlarges, light",
    "compressed_sr": "enlarges compressed images",
    "real_sr": "enlarges photographs",
    "denoise": "removes noise",
    "jpeg": "removes JPEG traces",
}
_GROUPS = {
    "classical_sr": "Enlarge", "lightweight_sr": "Enlarge, light", "compressed_sr": "Enlarge compressed images",
    "real_sr": "Enlarge photographs", "denoise": "Remove noise", "jpeg": "Remove JPEG traces",
}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """A line of the list.

    Attributes
    ----------
    name : str
        As `swin2sr_ops.restore` takes it.
    label : str
        Name, scale and task.
    group : str
        Heading of the list: the task.
    fits : bool
        Whether the model has as many channels as the layer has colours; others work channel by channel.
    """

    name: str
    label: str
    group: str
    fits: bool
    spec: ModelSpec


def choices(colours: int) -> list[Choice]:
    """List all known models by task; within one those for ``colours`` (3 for RGB, else 1) and those on disk first."""
    tasks, cached = list(_TASKS), _cached()
    found = [_choice(spec, colours, cached) for spec in list_models()]
    return sorted(
        found,
        key=lambda c: (
            tasks.index(c.spec.task) if c.spec.task in tasks else len(tasks), not c.fits,
            needs_download(c.spec, cached), c.spec.scale,
        ),
    )  # fmt: skip


def _choice(spec: ModelSpec, colours: int, cached: list[str]) -> Choice:
    label = spec.name if spec.scale == 1 else f"{spec.name}   x{spec.scale}"
    if needs_download(spec, cached):
        label += "   (download)"
    group = _GROUPS.get(spec.task, spec.task.replace("_", " ").capitalize())
    return Choice(spec.name, label, group, spec.channels == colours, spec)


def advice(spec: ModelSpec, colours: int) -> str:
    """Task, scale, licence, where the weights are, and when to use the model."""
    kind = {1: "one channel", 3: "RGB"}.get(spec.channels, f"{spec.channels} channels")
    if spec.planes > 1:
        kind += f" with {spec.planes - 1} neighbouring planes" + (f" along {spec.along}" if spec.along else "")
    weights = "comes with the package"
    if _on_the_web(spec):
        size = f" of {spec.size_bytes / 1e6:.0f} MB" if spec.size_bytes else ""
        weights = f"download{size}, once"
    elif not spec.weights.startswith("package:"):
        weights = spec.weights
    facts = [f"x{spec.scale}", kind, _TASKS.get(spec.task, spec.task), spec.licence, weights]
    lines = [", ".join(fact for fact in facts if fact) + "."]
    if spec.advice:
        lines.append(spec.advice)
    if spec.channels == 3 and colours == 1:
        lines.append("Made for RGB: it sees each channel three times, and its answers are averaged.")
    if spec.channels == 1 and colours == 3:
        lines.append("Made for one channel: red, green and blue are restored apart.")
    return " ".join(lines)


def needs_download(spec: ModelSpec, cached: list[str] | None = None) -> bool:
    """Return True if the weights must be downloaded, because the cache does not contain them yet.

    Parameters
    ----------
    spec : ModelSpec
    cached : list of str, optional
        Names of the files in the cache, if they are known already.
    """
    if not _on_the_web(spec):
        return False
    name = PurePosixPath(urlsplit(spec.weights).path).name  # one of another origin has a mark before its name
    return not any(file.endswith(name) for file in (_cached() if cached is None else cached))


def _cached() -> list[str]:
    """List the files in the cache, once for all models: the window's thread asks whenever another layer is chosen."""
    from swin2sr_ops.hosting import cache_folder

    try:
        return os.listdir(cache_folder())
    except OSError:
        return []


def fetch(spec: ModelSpec) -> Path:
    """Download the weights into the cache, checked."""
    from swin2sr_ops.hosting import download_model as download

    return download(spec, progress=False)


def _on_the_web(spec: ModelSpec) -> bool:
    return spec.weights.startswith(("http://", "https://"))


def overlaps(spec: ModelSpec) -> list[tuple[str, str]]:
    """Overlaps that the model can have: what `halo` takes, and a line with the measured error."""
    found = [("exact", "exact: no seams")]
    for windows in (2, 3, 4):
        halo = windows * spec.window
        known = {int(k): v for k, v in spec.halo_error.items() if int(k) <= halo}
        error = f"error up to {known[max(known)]:.1g} of full range" if known else "error not measured"
        found.append((str(halo), f"{halo} px: faster, {error}"))
    return found
