"""Build the `ModelSpec` of a package: what it says, and how far its network sees."""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from swin2sr_ops import ModelError, ModelSpec
from swin2sr_ops.hosting import Reach, find_reach, remember_facts, remembered_facts
from swin2sr_ops_bioimageio.network import PackageNetwork
from swin2sr_ops_bioimageio.package import Package

__all__ = ["describe"]

#: Increase it when all packages must be examined again.
_VERSION = 2
_WINDOW = 8  # px: reads of tiles start on this grid


def describe(path: Path, *, name: str | None = None, task: str | None = None) -> ModelSpec:
    """Return the spec of a package; measure its network at the first look.

    Parameters
    ----------
    path : Path
        Absolute path of a ``.zip`` or a folder.
    name, task : str, optional
        The user's name and task for the model.

    Raises
    ------
    ModelError
        If it cannot be run here; a sentence says why.
    """
    package = Package.read(path)
    key = f"{_VERSION} {package.kind} {package.sha256}"
    facts = remembered_facts("bioimageio", key)
    if facts is None:
        facts = _examine(package)
        remember_facts("bioimageio", key, facts)
    description = package.description
    if package.values.raw:
        warnings.warn(
            f"The bioimage.io package {description.name!r} takes stored intensities: give the range 0 to 1, which"
            " passes them on unchanged.",
            stacklevel=2,
        )
    return ModelSpec(
        name=name or path.stem,
        architecture=f"bioimageio:{package.kind}",
        task=task or ("super_resolution" if package.tensors.scale > 1 else "restoration"),
        scale=package.tensors.scale,
        channels=package.tensors.channels,
        window=facts["window"],
        reach=Reach(**facts["reach"]),
        licence=str(description.license or "unknown"),
        weights=str(path),
        sha256=package.sha256,
        size_bytes=path.stat().st_size if path.is_file() else 0,
        advice=f"{facts['advice']}{_percentiles(package)}",
        halo_error=facts["halo_error"],
        provenance={"reader": "bioimageio.spec", "package": str(description.name), "id": str(description.id or "")},
    )


def _percentiles(package: Package) -> str:
    low_high = package.values.percentiles
    if low_high is None or low_high == (0.0, 100.0):
        return ""
    low, high = low_high
    return f" The package maps the percentiles {low:g} and {high:g} of an image to 0 and 1: give this range."


def _examine(package: Package) -> dict[str, Any]:
    """Return what is found out by running the network, JSON-ready."""
    network = package.network()
    try:
        _check_works(network, package)
        return _fixed(package) if package.tensors.fixed else _measured(network, package)
    except ModelError:
        raise
    except Exception as exc:  # foreign code
        raise ModelError(f"{package.path.name} fails in a test: {type(exc).__name__}: {exc!s:.300}") from exc


def _check_works(network: PackageNetwork, package: Package) -> None:
    tensors = package.tensors
    side = max(16, tensors.minimum)
    with torch.inference_mode():
        given = tuple(network(torch.full((1, tensors.channels, side, side), 0.5)).shape)
    expected = (1, tensors.channels, side * tensors.scale, side * tensors.scale)
    if given != expected:
        raise ModelError(
            f"{package.path.name} returned {given} for an image of {side} x {side} px instead of {expected}."
        )


def _measured(network: PackageNetwork, package: Package) -> dict[str, Any]:
    tensors = package.tensors
    found = find_reach(
        network,
        tensors.channels,
        model=network.model,
        call=network.call,
        name=package.path.name,
        # Sizes are a minimum and steps: a window of both keeps the grid of a network whose steps begin at 0.
        multiple=tensors.multiple if tensors.minimum % tensors.multiple == 0 else 1,
        minimum=tensors.minimum,
        window=tensors.multiple,
        traced=package.kind == "pytorch_state_dict",
    )
    return {
        "window": found.window, "reach": asdict(found.reach), "halo_error": found.halo_error, "advice": found.advice,
    }  # fmt: skip


def _fixed(package: Package) -> dict[str, Any]:
    """Describe a network that takes one size: cells are what is left between two halos, and nothing can be measured."""
    side = package.tensors.fixed
    halo = -(-(package.tensors.halo or side // 8) // _WINDOW) * _WINDOW
    cell = (side - 2 * halo) // _WINDOW * _WINDOW
    if cell < _WINDOW:
        raise ModelError(f"{package.path.name} takes images of {side} px, and its halos leave nothing between them.")
    stated = "stated by the package" if package.tensors.halo else "an eighth of its side, since the package states none"
    advice = (
        f"Approximate: it takes tiles of {side} px only, so nothing was measured. Its halo of {halo} px is {stated};"
        " the error is unknown."
    )
    window = math.gcd(halo, cell, _WINDOW)
    return {"window": window, "reach": asdict(Reach(halo=halo, cell=cell)), "halo_error": {}, "advice": advice}
