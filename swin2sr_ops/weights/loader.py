"""Resolve what a user calls a model to its description, and load its network.

torch is imported only to build a network, and to open a file that is not ``.safetensors``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swin2sr_ops.errors import CheckpointError, ModelError
from swin2sr_ops.io.storage.paths import user_path
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.weights import catalogue, download as downloads
from swin2sr_ops.weights.catalogue import BUILTIN, find, read_header, shipped, spec_of_header
from swin2sr_ops.weights.digest import file_sha256
from swin2sr_ops.weights.qualities import QUALITIES, is_quality, names_of_quality
from swin2sr_ops.weights.shapes import parameter_shapes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from swin2sr_ops.nets.network import SwinNet

__all__ = ["check_parameters", "empty_network", "load_network", "load_parameters", "resolve_spec", "weights_path"]

_PACKAGE = "package:"
_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")


def resolve_spec(
    model: str | os.PathLike[str] | ModelSpec = "auto",
    *,
    task: str | None = None,
    scale: int | None = None,
    channels: int | None = None,
    **hints: Any,
) -> ModelSpec:
    """Resolve a model to its description.

    Parameters
    ----------
    model : str, path-like or ModelSpec
        A catalogue name; a checkpoint file or a Hugging Face folder; a description; or ``"fast"``, ``"good"``,
        ``"best"`` or ``"auto"`` (the same as ``"good"``), a shipped model for ``task``, ``scale`` and ``channels``
        (`swin2sr_ops.weights.qualities`).
    task, scale : str, int, optional
        Required task and scale; a model with another one is an error.
    channels : int, optional
        For these words: channels that enter the network together. A named model keeps its own number, since
        an image may be restored channel by channel.
    **hints
        Facts that the file lacks: ``value_range``, ``window``, ``name``, and other fields of `ModelSpec`.
        They are validated against the file.

    Returns
    -------
    ModelSpec
        For a file, ``weights`` is its absolute path and ``sha256`` its hash.

    Raises
    ------
    ModelError
        If there is no such model, or it does not fit the request.
    """
    if isinstance(model, ModelSpec):
        spec = model
    elif is_quality(model):
        spec = _choose(os.fspath(model), task, scale, channels)
    elif _is_file(model):
        # A foreign file does not state its task: take it from the user.
        spec = _from_file(user_path(model).resolve(), hints if task is None else {"task": task, **hints})
        hints = {}
    else:
        spec = find(os.fspath(model))
    spec = _with_hints(spec, hints)
    if spec.weights.startswith(_PACKAGE) and not spec.sha256:
        spec = replace(spec, sha256=file_sha256(weights_path(spec)))
    for key, wanted in (("scale", scale), ("task", task)):
        if wanted is not None and getattr(spec, key) != wanted:
            raise ModelError(
                f"Model {spec.name!r} has {key}={getattr(spec, key)!r}, but {key}={wanted!r} was asked for."
            )
    return spec


def load_network(spec: ModelSpec, *, download: bool = False) -> SwinNet:
    """Build the network of ``spec`` and load its weights: float32, on the CPU, in evaluation mode.

    Parameters
    ----------
    spec : ModelSpec
        ``weights`` is a path, ``package:<file>`` or a URL.
    download : bool
        Whether to download weights that are not in the cache.

    Raises
    ------
    ModelError
        If the weights are missing, or are not those of ``spec``.
    """
    import torch

    from swin2sr_ops.nets.network import channel_mean

    net = empty_network(spec)
    parameters = load_parameters(spec, download=download)
    net.load_state_dict({name: torch.from_numpy(values) for name, values in parameters.items()}, assign=True)
    net.mean = channel_mean(spec.channels)
    return net.requires_grad_(False).eval()


def load_parameters(spec: ModelSpec, *, download: bool = False) -> dict[str, NDArray[np.float32]]:
    """Load the weights of ``spec`` under their official names; a ``.safetensors`` file is read without torch.

    Parameters and errors are those of `load_network`.
    """
    where = weights_path(spec, download=download)
    path, parameters, facts, digest = _read(where)
    if spec.sha256 and digest != spec.sha256:
        raise CheckpointError(
            f"{path} is not the file that {spec.name} was described from: its SHA-256 begins with "
            f"{digest[:12]} instead of {spec.sha256[:12]}. Put that file back, or resolve the model again."
        )
    window = facts.get("window", spec.window)
    if window != spec.window:
        raise CheckpointError(f"{path} has window {window}, but {spec.name} says {spec.window}.")
    check_parameters(parameters, spec, str(path))
    return parameters


def _read(path: Path) -> tuple[Path, dict[str, NDArray[np.float32]], dict[str, Any], str]:
    """Read a checkpoint; return its resolved path, parameters, the facts beside them, and its SHA-256."""
    path = Path(os.path.realpath(user_path(path)))
    if path.suffix == ".safetensors" and path.is_file():
        from swin2sr_ops.weights.arrays import read_arrays

        return path, *read_arrays(path), file_sha256(path)
    from swin2sr_ops.weights.checkpoint import read_checkpoint

    found = read_checkpoint(path)
    return found.path, {name: t.numpy() for name, t in found.parameters.items()}, found.facts, found.sha256


def weights_path(spec: ModelSpec, *, download: bool = False) -> Path:
    """Return the local path of the weights of ``spec``; download them first if allowed."""
    where = spec.weights
    if not where:
        raise ModelError(f"Model {spec.name!r} does not state where its weights are: give a file, or `weights=`.")
    if where.startswith(_PACKAGE):
        path = catalogue.MODELS_FOLDER / where.removeprefix(_PACKAGE)
        if not path.is_file():
            raise ModelError(f"{path.name} is missing from the installed package: reinstall swin2sr-ops.")
        return path
    if not downloads.is_web_url(where):
        return user_path(where)
    cached = downloads.cached(spec)
    if cached is not None:
        return cached
    if download:
        return downloads.fetch(spec)
    about = ", ".join(part for part in (_megabytes(spec), spec.licence) if part)
    raise ModelError(
        f"The weights of {spec.name} are not in the cache; run `swin2sr-ops models --download {spec.name}`"
        f"{f' ({about})' if about else ''} or pass download=True."
    )


def empty_network(spec: ModelSpec) -> SwinNet:
    """Build the network of ``spec`` with shapes but no values: it takes no memory and draws no random numbers."""
    import torch

    from swin2sr_ops.nets.network import SwinNet

    with torch.device("meta"):
        return SwinNet(spec)


def check_parameters(state: Mapping[str, Any], spec: ModelSpec, what: str) -> None:
    """Raise an error if the parameters are not those of ``spec``; name the first few."""
    expected = parameter_shapes(spec)
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    other = [
        f"{name} {shape} instead of {expected[name]}"
        for name, shape in found.items()
        if name in expected and shape != expected[name]
    ]
    parts = [
        f"{len(names)} {words} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for names, words in (
            (missing, "are missing"),
            (extra, "do not belong to this network"),
            (other, "have another shape"),
        )
        if names
    ]
    if parts:
        raise CheckpointError(
            f"The weights in {what} are not those of {spec.name}: of its tensors, {'; '.join(parts)}."
        )


def _megabytes(spec: ModelSpec) -> str:
    return f"{spec.size_bytes / 1e6:.0f} MB" if spec.size_bytes else ""


def _is_file(model: str | os.PathLike[str]) -> bool:
    """Return True if ``model`` is a path: it exists, or it cannot be a name."""
    if not isinstance(model, str):
        return True
    if downloads.is_web_url(model):
        raise ModelError(f"{model} is a URL: download the file, then give its path.")
    is_name = model in BUILTIN or any(spec.name == model for spec in shipped())
    looks_like_one = any(mark in model for mark in ("/", os.sep, "~")) or Path(model).suffix in _SUFFIXES
    return not is_name and (looks_like_one or Path(model).exists())


def _from_file(path: Path, hints: Mapping[str, Any]) -> ModelSpec:
    if path.suffix == ".safetensors" and path.is_file():
        spec = spec_of_header(read_header(path), path)
        if spec is not None:
            return _with_hints(replace(spec, sha256=file_sha256(path)), hints)
    from swin2sr_ops.weights.infer import infer_spec

    _, parameters, facts, digest = _read(path)
    for row in BUILTIN.values():
        if row.sha256 and row.sha256 == digest:  # a released file, under any file name
            return _with_hints(replace(row, weights=str(path)), hints)
    about = {key: value for key, value in hints.items() if key != "name"}
    spec = infer_spec(parameters, name=hints.get("name", path.stem), facts=facts, hints=about)
    check_parameters(parameters, spec, str(path))
    size = path.stat().st_size if path.is_file() else 0
    return replace(spec, weights=str(path), sha256=digest, size_bytes=size)


def _with_hints(spec: ModelSpec, hints: Mapping[str, Any]) -> ModelSpec:
    """Take the name from the hints; validate all other hints against the description."""
    for key, value in hints.items():
        if key == "name":
            spec = replace(spec, name=value)
        elif not hasattr(spec, key):
            raise ModelError(f"{key}={value!r} is not a field of a model.")
        elif getattr(spec, key) != value:
            raise ModelError(f"{key}={value!r} does not fit {spec.name}, which has {key}={getattr(spec, key)!r}.")
    return spec


def _choose(quality: str, task: str | None, scale: int | None, channels: int | None) -> ModelSpec:
    """Choose the shipped model for a request; without a scale, prefer x2 over larger scales."""
    wanted: dict[str, str | int | None] = {"task": task, "scale": scale, "channels": channels}
    if task is None and scale is None:
        wanted["scale"] = 2
    names = names_of_quality(quality)
    models = [m for m in shipped() if m.name in names]
    fitting = [m for m in models if all(value in (None, getattr(m, key)) for key, value in wanted.items())]
    if fitting:
        return max(fitting, key=_merit)
    asked = ", ".join(f"{key}={value}" for key, value in wanted.items() if value is not None)
    there = ", ".join(sorted({f"{m.task} x{m.scale} with {m.channels} channel(s)" for m in models})) or "nothing"
    raise ModelError(
        f"No shipped model has {asked}; shipped as {', '.join(QUALITIES)} are: {there}. "
        "Name a released one (`swin2sr-ops models` lists all), or give a file."
    )


def _merit(spec: ModelSpec) -> tuple[int, int, float]:
    """Rank a model, larger is better: lower scale (it invents less), then faster, then higher PSNR."""
    return -spec.scale, -spec.dim * sum(spec.depths), float(spec.quality.get("psnr", 0))
