"""The hooks: what a plugin can add. Names start with ``swin2sr_ops_``.

A plugin is a module or object with functions of these names, marked with `hookimpl`, and an entry
point in the group ``swin2sr_ops``. Arguments may be left out of an implementation.

pluggy finds, checks and orders the implementations (``tryfirst`` and ``trylast`` count); the package calls them itself
(`swin2sr_ops.hooks.dispatch`), so that a plugin that fails is named and the next one is asked. Where a hook returns one
thing or None, the first answer counts and later plugins are not called. Wrappers (``wrapper=True``) are not supported.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from torch import nn

    from swin2sr_ops.events import Event
    from swin2sr_ops.hooks.hosts import HostAdapter
    from swin2sr_ops.io.base import ImageInfo, ImageSink, ImageSource
    from swin2sr_ops.spec import ModelSpec

__all__ = ["GROUP", "PROJECT", "hookimpl", "hookspec"]

PROJECT = "swin2sr_ops"
#: Entry-point group that plugins are found in.
GROUP = "swin2sr_ops"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def swin2sr_ops_model_specs() -> Iterable[ModelSpec]:
    """Models to list, as data; nothing is loaded for it."""
    raise AssertionError("a specification is not called")


@hookspec
def swin2sr_ops_resolve_model(model: str, wanted: dict[str, Any]) -> ModelSpec | None:
    """Describe what a user calls a model, or return None so that the next plugin may try.

    Asked where no list has that name and the built-in loader refuses it: of ``--model photo.pth`` when
    that is no Swin2SR or SwinIR, and of ``--model mine:anything``. ``wanted`` holds ``scale``, ``task``
    and what else was said about the model; the spec's scale and task are compared with it afterwards.
    """


@hookspec
def swin2sr_ops_build_network(spec: ModelSpec) -> nn.Module | None:
    """Return the network of ``spec`` with its weights, on the CPU, or None so that the next plugin may try.

    It takes ``(1, C, H, W)`` in 0..1 and gives ``(1, C, H scale, W scale)``. For an architecture that is
    not of this package the spec says in ``reach`` how far it sees (`swin2sr_ops.spec.Reach`).
    """


@hookspec
def swin2sr_ops_open_source(uri: str, options: dict[str, Any]) -> ImageSource | None:
    """Open ``uri`` for reading, or return None so that the next plugin may try.

    ``options`` may hold ``axes``, ``level``, ``series`` and ``array``.
    """


@hookspec
def swin2sr_ops_create_sink(uri: str, info: ImageInfo, options: dict[str, Any]) -> ImageSink | None:
    """Create ``uri`` for the image ``info`` describes, or return None so that the next plugin may try.

    ``options`` may hold ``overwrite``, ``source`` (the input's uri), ``chunks``, ``shards``, ``pyramid``,
    whatever else was asked of the format, and ``run``, what the run is known by
    (`swin2sr_ops.io.output.claim.RunKey`): a format that cannot be gone on with has no use for it.
    """


@hookspec
def swin2sr_ops_hosts() -> Iterable[HostAdapter]:
    """Adapters of the applications that this plugin brings the operator to; nothing is imported for it."""
    raise AssertionError("a specification is not called")


@hookspec
def swin2sr_ops_progress(event: Event) -> None:
    """Observe a run; an error that an observer raises is only logged.

    ``event.kind`` is ``range``, ``start``, ``tile``, ``pyramid`` or ``end``; see `swin2sr_ops.events`.
    """
