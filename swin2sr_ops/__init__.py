"""Exact, chunk-wise image restoration with Swin2SR and SwinIR, for images larger than memory.

The names below load on first use: importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_EXPORTS = {
    "BatchReport": "batch.report",
    "ModelSpec": "spec",
    "Restorer": "engine.restorer",
    "RunReport": "run.report",
    "TilePlan": "geometry.plan",
    "create_sink": "hooks.dispatch",
    "hookimpl": "hookspecs",
    "list_models": "hooks.models",
    "load_model": "hooks.models",
    "open_source": "hooks.dispatch",
    "restore": "lazy.restore",
    "restore_batch": "batch.api",
    "restore_image": "api",
    "restored_store": "serve.store",
    **dict.fromkeys(
        (
            "CheckpointError",
            "ClusterError",
            "DownloadError",
            "FormatError",
            "ModelError",
            "OutputError",
            "PlanError",
            "RequestError",
            "Swin2SROpsError",
            "TileError",
        ),
        "errors",
    ),
}

__all__ = ["__version__", *sorted(_EXPORTS)]  # noqa: PLE0604  (names of strings, made above)

if TYPE_CHECKING:
    from swin2sr_ops.api import restore_image as restore_image
    from swin2sr_ops.batch.api import restore_batch as restore_batch
    from swin2sr_ops.batch.report import BatchReport as BatchReport
    from swin2sr_ops.engine.restorer import Restorer as Restorer
    from swin2sr_ops.errors import (
        CheckpointError as CheckpointError,
        ClusterError as ClusterError,
        DownloadError as DownloadError,
        FormatError as FormatError,
        ModelError as ModelError,
        OutputError as OutputError,
        PlanError as PlanError,
        RequestError as RequestError,
        Swin2SROpsError as Swin2SROpsError,
        TileError as TileError,
    )
    from swin2sr_ops.geometry.plan import TilePlan as TilePlan
    from swin2sr_ops.hooks.dispatch import create_sink as create_sink, open_source as open_source
    from swin2sr_ops.hooks.models import list_models as list_models, load_model as load_model
    from swin2sr_ops.hookspecs import hookimpl as hookimpl
    from swin2sr_ops.lazy.restore import restore as restore
    from swin2sr_ops.run.report import RunReport as RunReport
    from swin2sr_ops.serve.store import restored_store as restored_store
    from swin2sr_ops.spec import ModelSpec as ModelSpec


def __getattr__(name: str) -> object:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
