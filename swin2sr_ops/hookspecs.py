"""Declare the hooks that a plugin can implement; their names start with ``swin2sr_ops_``.

A plugin is a module or object with functions of these names, marked with `hookimpl`, and an entry
point in the group ``swin2sr_ops``. An implementation may omit arguments.

pluggy finds, checks and orders the implementations (``tryfirst`` and ``trylast`` count). The package calls them itself
(`swin2sr_ops.hooks.dispatch`): if a plugin fails, a warning names it and the next plugin is called. If a hook returns
one thing or None, the first answer counts and later plugins are not called. Wrappers (``wrapper=True``) are not
supported.
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
#: Entry-point group in which plugins are found.
GROUP = "swin2sr_ops"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def swin2sr_ops_model_specs() -> Iterable[ModelSpec]:
    """List models as data, without loading anything."""
    raise AssertionError("a specification is not called")


@hookspec
def swin2sr_ops_resolve_model(model: str, wanted: dict[str, Any]) -> ModelSpec | None:
    """Resolve a model that a user names, or return None so that the next plugin may try.

    The hook is called if no list has that name and the built-in loader rejects it: for ``--model photo.pth``
    if that is neither Swin2SR nor SwinIR, and for ``--model mine:anything``. ``wanted`` holds ``scale``,
    ``task`` and the other hints that the user gave; the spec's scale and task are validated against it afterwards.
    """


@hookspec
def swin2sr_ops_build_network(spec: ModelSpec) -> nn.Module | None:
    """Return the network of ``spec`` with its weights, on the CPU, or None so that the next plugin may try.

    It takes ``(1, C, H, W)`` in 0..1 and returns ``(1, C, H scale, W scale)``. For an architecture from outside
    this package the spec gives the receptive field in ``reach`` (`swin2sr_ops.spec.Reach`).
    """


@hookspec
def swin2sr_ops_open_source(uri: str, options: dict[str, Any]) -> ImageSource | None:
    """Open ``uri`` for reading, or return None so that the next plugin may try.

    ``options`` may hold ``axes``, ``level``, ``series`` and ``array``.
    """


@hookspec
def swin2sr_ops_create_sink(uri: str, info: ImageInfo, options: dict[str, Any]) -> ImageSink | None:
    """Create ``uri`` for the image that ``info`` describes, or return None so that the next plugin may try.

    ``options`` may hold ``overwrite``, ``source`` (the input's uri), ``chunks``, ``shards``, ``pyramid``,
    further options of the format, and ``run``, the key of the run (`swin2sr_ops.io.output.claim.RunKey`).
    A format whose runs cannot be resumed ignores ``run``. ``parallel`` is True if several processes will write:
    a format that only one process can write then raises `RequestError` before it touches the destination.
    """


@hookspec
def swin2sr_ops_hosts() -> Iterable[HostAdapter]:
    """List adapters of the applications to which this plugin adds the operator, without importing an application."""
    raise AssertionError("a specification is not called")


@hookspec
def swin2sr_ops_progress(event: Event) -> None:
    """Observe a run; an error that an observer raises is only logged.

    ``event.kind`` is ``range``, ``start``, ``tile``, ``pyramid`` or ``end``; see `swin2sr_ops.events`.
    """
