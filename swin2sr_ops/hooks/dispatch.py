"""What plugins are asked: models, networks, sources, sinks, hosts.

The first that has an answer is taken. One that fails is named in a warning, kept for
``swin2sr-ops plugins``, and left out; the others are asked.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from swin2sr_ops.errors import FormatError, ModelError, RequestError, Swin2SROpsError
from swin2sr_ops.events import Event, Progress
from swin2sr_ops.hooks.hosts import HostAdapter
from swin2sr_ops.hooks.manager import ANYTHING, BUILTIN, PREFIX, PluginInfo, manager, told
from swin2sr_ops.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn

    from swin2sr_ops.io.base import ImageInfo, ImageSink, ImageSource

__all__ = [
    "build_network",
    "create_sink",
    "hosts",
    "loaded",
    "manager",
    "model_specs",
    "notifier",
    "open_source",
    "resolve_model",
]


def loaded() -> list[PluginInfo]:
    """What became of every plugin that is installed, the built-ins first; those that list something are asked.

    Their failures are in the result and are not warned of.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model_specs()
        hosts()
    return list(manager().infos)


def _implementations(hook: str) -> Iterator[Any]:
    """Who implements a hook, in pluggy's own order: the last one registered first."""
    yield from reversed(getattr(manager().hook, PREFIX + hook).get_hookimpls())


def _all(hook: str, what: str, kind: type) -> Iterator[Any]:
    """What everybody lists; who fails at it, or lists something else, is named in a warning and left out."""
    for impl in _implementations(hook):
        try:
            with redirect_stdout(sys.stderr):  # a program may read what this one prints
                listed: Iterable[Any] | None = impl.function()
                found = [] if listed is None else list(listed)
            strange = next((item for item in found if not isinstance(item, kind)), None)
            if strange is not None:
                raise TypeError(f"{strange!r:.100} is no {kind.__name__}")
        except ANYTHING as exc:
            if impl.plugin_name == BUILTIN:
                raise
            manager().failed(impl.plugin_name, f"cannot list its {what}: {told(exc)}")
            continue
        yield from found


def _first(hook: str, **given: Any) -> tuple[Any, str]:
    """The first answer, or None with a sentence about those who failed.

    An error of this project is an answer: the plugin knows the request, and says what is wrong with it.
    """
    failures = []
    for impl in _implementations(hook):
        try:
            found = impl.function(*(given[name] for name in impl.argnames))
        except Swin2SROpsError:
            raise
        except ANYTHING as exc:
            if impl.plugin_name == BUILTIN:
                raise
            manager().failed(impl.plugin_name, f"failed in {PREFIX}{hook}: {told(exc)}")
            failures.append(f" Plugin {impl.plugin_name!r} failed at it: {told(exc)}")
            continue
        if found is not None:
            return found, ""
    return None, "".join(failures)


def model_specs() -> list[ModelSpec]:
    """All models that somebody lists: plugins' first, then the shipped and the released ones.

    A plugin that fails at it is named in a warning and left out.
    """
    return list(_all("model_specs", "models", ModelSpec))


def hosts() -> list[HostAdapter]:
    """Adapters of all applications that somebody brings the operator to, by name; failing plugins are left out."""
    return sorted(_all("hosts", "hosts", HostAdapter), key=lambda adapter: str(adapter.name))


def resolve_model(model: str | os.PathLike[str] | ModelSpec = "auto", **wanted: Any) -> ModelSpec:
    """The spec of what a user calls a model: a plugin's name, a catalogue name, a file or folder, a spec.

    ``wanted`` holds ``scale``, ``task``, ``channels`` and what a checkpoint does not say about itself;
    see `swin2sr_ops.weights.loader.resolve_spec`.
    """
    from swin2sr_ops.weights.loader import resolve_spec

    if isinstance(model, str) and model != "auto":
        model = next((spec for spec in model_specs() if spec.name == model), model)
    try:
        return resolve_spec(model, **wanted)
    except ModelError as exc:
        if isinstance(model, ModelSpec) or model == "auto":
            raise
        try:
            found, failures = _first("resolve_model", model=os.fspath(model), wanted=dict(wanted))
        except Swin2SROpsError as theirs:
            if not os.path.exists(model):  # a name that a plugin understands, and only it
                raise
            raise type(exc)(f"{exc} {theirs}") from exc
        if found is None:
            if failures:
                raise type(exc)(f"{exc}{failures}") from exc
            raise
    return resolve_spec(found, scale=wanted.get("scale"), task=wanted.get("task"))


def build_network(spec: ModelSpec) -> nn.Module:
    """The network of ``spec``, with its weights, on the CPU."""
    network, failures = _first("build_network", spec=spec)
    if network is None:
        raise ModelError(
            f"No plugin builds the network of {spec.name!r} (architecture {spec.architecture!r}).{failures}"
        )
    built: nn.Module = network
    return built


def notifier(progress: Progress | None) -> Progress:
    """Return a function that passes an event to ``progress`` and to every observer; it logs an observer's failure."""
    observers = manager().hook.swin2sr_ops_progress

    def notify(event: Event) -> None:
        if progress is not None:
            progress(event)
        for observer in observers.get_hookimpls():
            try:
                observer.function(*(event for _ in observer.argnames))  # an observer may leave the argument out
            # Another package's code, called for its information only.
            except Exception:
                logging.getLogger(__name__).exception("observer %s failed", observer.plugin_name)

    return notify


def open_source(uri: str | os.PathLike[str], **options: Any) -> ImageSource:
    """Open an image for reading.

    Parameters
    ----------
    uri : str or path
        A file or folder: OME-Zarr, Zarr, TIFF, PNG, JPEG; or ``sample:NAME``.
    **options
        ``axes``, ``level``, ``series``, ``array``: see the formats.

    Raises
    ------
    FormatError
        If it is missing, damaged, or nobody reads it.
    """
    given = {k: v for k, v in options.items() if v is not None}
    source, failures = _first("open_source", uri=os.fspath(uri), options=given)
    if source is None:
        raise FormatError(
            f"{os.fspath(uri)!r} is of no format that is read here: expected OME-Zarr or Zarr (a folder), "
            f"TIFF, PNG or JPEG, or a plugin's (`swin2sr-ops plugins` lists them).{failures}"
        )
    opened: ImageSource = source
    return opened


def create_sink(uri: str | os.PathLike[str], info: ImageInfo, **options: Any) -> ImageSink:
    """Create an output for the image ``info`` describes; its format follows from the suffix of ``uri``."""
    given = {k: v for k, v in options.items() if v is not None}
    sink, failures = _first("create_sink", uri=os.fspath(uri), info=info, options=given)
    if sink is None:
        raise RequestError(
            f"{os.fspath(uri)!r} does not say a format that is written here: end it with .ome.zarr, .zarr, "
            f".ome.tif, .tif or .png, or as a plugin's format does.{failures}"
        )
    created: ImageSink = sink
    return created
