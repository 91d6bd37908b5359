"""Build the `ModelSpec` of a checkpoint that spandrel reads; cache the result."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import spandrel
import torch

from swin2sr_ops import CheckpointError, ModelError, ModelSpec
from swin2sr_ops.hosting import Reach, cache_folder, file_sha256
from swin2sr_ops_spandrel.measure import measured, pixel_bytes
from swin2sr_ops_spandrel.network import Network, Unknown, read
from swin2sr_ops_spandrel.proof import proven_sight

__all__ = ["describe"]

_log = logging.getLogger(__name__)
#: Increase it when all files must be examined again.
_VERSION = 1
#: Halo in pixels above which an exact result costs many times the cell.
_FAR = 64
_OURS = ("Swin2SR", "SwinIR")
_PURPOSES = {"SR": "super_resolution", "Restoration": "restoration"}
_UNFIT = {
    "Inpainting": "fills holes in a picture, for which it needs a mask beside it",
    "FaceSR": "repaints one aligned face of a fixed size",
}


def describe(path: Path, asked: bool, name: str | None = None, task: str | None = None) -> ModelSpec | None:
    """Return the spec of a checkpoint; None if spandrel does not know it, or cannot read it.

    Parameters
    ----------
    path : Path
        Absolute path.
    asked : bool
        True if the user named spandrel: then an error is raised instead of None.
    name, task : str, optional
        The user's name and task for the model.

    Raises
    ------
    ModelError
        If spandrel knows it, but it does not restore images.
    """
    sha256 = file_sha256(path)
    found = _remembered(sha256)
    if found is None:
        try:
            found = _look(read(path), path)
        except CheckpointError:
            if asked:
                raise
            return None  # the built-in loader has already reported the error
        except Unknown:
            if asked:
                raise ModelError(f"spandrel {_spandrel()} does not know the architecture of {path.name}.") from None
            return None
        _remember(sha256, found)
    if found["architecture"] in _OURS:
        if asked:
            raise ModelError(f"{path.name} is a {found['architecture']}: give it without `spandrel:`, to be exact.")
        return None  # the built-in loader reports why it rejects the file
    return ModelSpec(
        name=name or path.stem,
        architecture=f"spandrel:{found['architecture']}",
        task=task or found["task"],
        scale=found["scale"],
        channels=found["channels"],
        window=found["window"],
        reach=Reach(**found["reach"]),
        licence="unknown",
        weights=str(path),
        sha256=sha256,
        size_bytes=path.stat().st_size,
        advice=found["advice"],
        halo_error=found["halo_error"],
        provenance={"reader": f"spandrel {_spandrel()}", "tags": found["tags"]},
    )


def _look(descriptor: Any, path: Path) -> dict[str, Any]:
    """Return all fields of a network's spec, JSON-ready."""
    architecture, channels, scale = descriptor.architecture.id, descriptor.input_channels, descriptor.scale
    found = {"architecture": architecture, "tags": list(descriptor.tags), "scale": scale, "channels": channels}
    if architecture in _OURS:
        return found
    what = f"{path.name} is a {descriptor.architecture.name}"
    if descriptor.purpose not in _PURPOSES:
        unfit = _UNFIT.get(descriptor.purpose, f"is for {descriptor.purpose}")
        raise ModelError(f"{what}, which {unfit}: it does not restore whole images.")
    if channels != descriptor.output_channels or channels not in (1, 3):
        raise ModelError(
            f"{what} from {channels} to {descriptor.output_channels} channels: supported are 1 or 3, with as many"
            " output channels as input channels."
        )
    network = Network(descriptor)
    try:
        _check_works(network, what, channels)
        return found | {"task": _PURPOSES[descriptor.purpose]} | _sight(network, descriptor)
    except ModelError:
        raise
    except Exception as exc:  # foreign code
        raise ModelError(f"{what}, which fails in a test: {type(exc).__name__}: {exc!s:.300}") from exc


def _check_works(network: Network, what: str, channels: int) -> None:
    side = max(16, network.sizes.minimum)
    with torch.inference_mode():
        given = tuple(network(torch.full((1, channels, side, side), 0.5)).shape)
    expected = (1, channels, side * network.scale, side * network.scale)
    if given != expected:
        raise ModelError(f"{what}, which returned {given} for an image of {side} x {side} px instead of {expected}.")


def _sight(network: Network, descriptor: Any) -> dict[str, Any]:
    """Return the network's reach: proven, or measured."""
    sizes, channels = descriptor.size_requirements, descriptor.input_channels
    multiple = int(sizes.multiple_of)
    memory = pixel_bytes(network, channels, max(64, sizes.minimum))
    sight = proven_sight(network.call, network.model)
    if sight is not None and sight.step * network.scale == 1 and not sizes.square:
        halo = math.ceil(sight.reach)
        # A cell at the image's end is at least as wide as its halo: it must not need more padding than the image.
        if multiple % sight.coarsest == 0 and halo + 1 >= sizes.minimum:
            window = math.lcm(multiple, 8)
            reach = Reach(halo=halo, exact=True, multiple=multiple, cell=_cell(window), pixel_bytes=memory)
            advice = f"Convolutions only: its halo of {halo} px is proven from its layers."
            if halo > _FAR:
                advice += " A shorter halo, such as 32, is much faster and almost equal."
            return {"window": window, "reach": asdict(reach), "halo_error": {}, "advice": advice}
    _log.warning(
        "Measuring the halo of %s, once for this file: this may take some minutes.", descriptor.architecture.name
    )
    trial = measured(network, channels, math.lcm(multiple, _attention(descriptor.model), 8))
    reach = Reach(halo=trial.halo, multiple=multiple, cell=_cell(trial.window), pixel_bytes=memory)
    error = trial.errors[str(trial.halo)]
    advice = (
        f"Approximate: its halo was measured, not proven. With {trial.halo} px around each cell of "
        f"{reach.cell} px, expect errors of about {error:.1g} of the full range."
    )
    if descriptor.tiling is not spandrel.ModelTiling.SUPPORTED:
        advice += " Spandrel advises against tiling for it."
    return {"window": trial.window, "reach": asdict(reach), "halo_error": trial.errors, "advice": advice}


def _cell(window: int) -> int:
    return -(-256 // window) * window


def _attention(model: Any) -> int:
    """Return the side of the attention windows, if the network has some and states it."""
    found = getattr(model, "window_size", 1)
    sides = found if isinstance(found, (tuple, list)) else (found,)
    sides = [side for side in sides if isinstance(side, int) and 0 < side <= 64]
    return math.lcm(*sides) if sides and math.lcm(*sides) <= 64 else 1


def _spandrel() -> str:
    return str(spandrel.__version__)


# --- what was found before ---------------------------------------------------------------------------


def _place(sha256: str) -> Path:
    """Return the cache file for a checkpoint, a version of spandrel and of this examination."""
    key = hashlib.sha256(f"{_VERSION} {_spandrel()} {sha256}".encode()).hexdigest()
    return cache_folder() / "spandrel" / f"{key[:32]}.json"


def _remembered(sha256: str) -> dict[str, Any] | None:
    try:
        found = json.loads(_place(sha256).read_text(encoding="utf-8"))
        return found if isinstance(found, dict) and found.get("sha256") == sha256 else None
    except (OSError, ValueError):
        return None


def _remember(sha256: str, found: dict[str, Any]) -> None:
    """Write the cache file completely or not at all; ignore an error, which only costs time."""
    place = _place(sha256)
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=place.parent, suffix=".partial")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(found | {"sha256": sha256}, file)
        os.replace(partial, place)
