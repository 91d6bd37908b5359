"""List models by name, and load a network for direct use."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

from swin2sr_ops.errors import RequestError
from swin2sr_ops.notebook import rows_table
from swin2sr_ops.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ModelList", "list_models", "load_model"]


class ModelList(list[ModelSpec]):
    """A list that shows itself as a table."""

    def __repr__(self) -> str:
        return "\n".join([f"{len(self)} models:", *(f"  {spec!r}" for spec in self)])

    def _repr_html_(self) -> str:
        names = ("name", "task", "scale", "channels", "licence")
        return rows_table(f"{len(self)} models", names, ([getattr(spec, name) for name in names] for spec in self))


def list_models(*, task: str | None = None, scale: int | None = None, channels: int | None = None) -> ModelList:
    """List the models that are known by name; load none.

    Parameters
    ----------
    task, scale, channels : optional
        Only models with this task, enlargement, or number of channels.

    Returns
    -------
    list of ModelSpec
        Shown as a table.
        Plugins' and shipped models first, then the released ones.

    Raises
    ------
    RequestError
        If no model at all has this task, scale or number of channels; the message lists those that there are.

    Examples
    --------
    >>> import swin2sr_ops
    >>> [m.name for m in swin2sr_ops.list_models(scale=8)][:1]
    ['swinir-classical-div2k-x8']
    """
    from swin2sr_ops.hooks.dispatch import model_specs

    known, wanted = model_specs(), {"task": task, "scale": scale, "channels": channels}
    given = {name: value for name, value in wanted.items() if value is not None}
    for name, value in given.items():
        there = {getattr(spec, name) for spec in known}
        if value not in there:
            raise RequestError(f"No model has {name} {value}: there are {', '.join(map(str, sorted(there)))}.")
    return ModelList(spec for spec in known if all(getattr(spec, name) == value for name, value in given.items()))


def load_model(model: str | PathLike[str] | ModelSpec = "auto", *, download: bool = False, **hints: Any) -> nn.Module:
    """Load a network with its weights, in evaluation mode, on the CPU, float32.

    Call it on ``(B, C, H, W)`` tensors in 0..1. Its method ``outputs`` returns everything that the head computes
    (the auxiliary image of compressed super-resolution, the high-frequency part). For large images use
    `swin2sr_ops.restore` or `swin2sr_ops.Restorer`.

    Parameters
    ----------
    model : str, path or ModelSpec
        A catalogue name, a checkpoint file or folder, or a spec.
    download : bool
        Fetch released weights if they are not in the cache yet.
    **hints
        Hints that the checkpoint lacks: ``value_range``, ``window``, ``name``.
    """
    from swin2sr_ops.hooks.dispatch import build_network, resolve_model
    from swin2sr_ops.weights.loader import weights_path

    spec = resolve_model(model, **hints)
    if download:
        weights_path(spec, download=True)
    return build_network(spec)
