"""Versions that a client and the processes of a cluster must agree on."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = ["environment"]


def environment(dask_worker: Any = None) -> dict[str, str | None]:
    """Return the versions in this process, and its address if a worker asks."""
    from swin2sr_ops import __version__

    try:
        torch: str | None = version("torch")
    except PackageNotFoundError:
        torch = None
    place = getattr(dask_worker, "address", None)
    return {"swin2sr_ops": __version__, "torch": torch, "address": place}
