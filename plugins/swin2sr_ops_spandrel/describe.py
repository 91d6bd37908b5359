"""Build the `ModelSpec` of a checkpoint that spandrel reads; cache the result."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import spandrel
import torch

from swin2sr_ops import CheckpointError, ModelError, ModelSpec
from swin2sr_ops.hosting import Reach, file_sha256, find_reach, remember_facts, remembered_facts
from swin2sr_ops_spandrel.network import Network, Unknown, read

__all__ = ["describe"]

#: Increase it when all files must be examined again.
_VERSION = 1
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
    found = remembered_facts("spandrel", _key(sha256))
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
        remember_facts("spandrel", _key(sha256), found)
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
    sizes = descriptor.size_requirements
    found = find_reach(
        network,
        descriptor.input_channels,
        model=network.model,
        call=network.call,
        name=descriptor.architecture.name,
        multiple=int(sizes.multiple_of),
        minimum=sizes.minimum,
        window=_attention(descriptor.model),
        traced=not sizes.square,
    )
    advice = found.advice
    if not found.reach.exact and descriptor.tiling is not spandrel.ModelTiling.SUPPORTED:
        advice += " Spandrel advises against tiling for it."
    return {
        "window": found.window, "reach": asdict(found.reach), "halo_error": found.halo_error, "advice": advice,
    }  # fmt: skip


def _attention(model: Any) -> int:
    """Return the side of the attention windows, if the network has some and states it."""
    found = getattr(model, "window_size", 1)
    sides = found if isinstance(found, (tuple, list)) else (found,)
    sides = [side for side in sides if isinstance(side, int) and 0 < side <= 64]
    return math.lcm(*sides) if sides and math.lcm(*sides) <= 64 else 1


def _spandrel() -> str:
    return str(spandrel.__version__)


def _key(sha256: str) -> str:
    """Name a checkpoint, a version of spandrel and of this examination."""
    return f"{_VERSION} {_spandrel()} {sha256}"
