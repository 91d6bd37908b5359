"""Dispatch hooks to plugins: models, networks, sources, sinks, hosts.

The first answer counts. A plugin that fails is named in a warning, recorded for ``swin2sr-ops plugins``
and skipped; the next plugin is called.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from swin2sr_ops.calls import check_keywords, keywords_of, path_of, with_article
from swin2sr_ops.errors import FormatError, ModelError, RequestError, Swin2SROpsError
from swin2sr_ops.events import Event, Progress
from swin2sr_ops.hooks.hosts import HostAdapter
from swin2sr_ops.hooks.manager import ANYTHING, BUILTIN, PREFIX, PluginInfo, error_text, manager
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.weights.qualities import is_quality

if TYPE_CHECKING:
    from torch import nn

    from swin2sr_ops.io.base import ImageInfo, ImageSink, ImageSource

__all__ = [
    "build_network",
    "check_output_options",
    "create_sink",
    "hosts",
    "loaded",
    "manager",
    "model_specs",
    "network_of_plugin",
    "notifier",
    "open_source",
    "resolve_model",
]


def loaded() -> list[PluginInfo]:
    """Return the state of every installed plugin, the built-ins first, after asking each for its models and hosts.

    Failures are in the result and raise no warning.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model_specs()
        hosts()
    return list(manager().infos)


def _implementations(hook: str) -> Iterator[Any]:
    """Iterate over the implementations of a hook in pluggy's order: the last one registered first."""
    yield from reversed(getattr(manager().hook, PREFIX + hook).get_hookimpls())


def _all(hook: str, what: str, kind: type) -> Iterator[Any]:
    """List the items of all plugins; name a plugin that fails or lists another type in a warning, and skip it."""
    for impl in _implementations(hook):
        try:
            with redirect_stdout(sys.stderr):  # another program may parse this process's standard output
                listed: Iterable[Any] | None = impl.function()
                found = [] if listed is None else list(listed)
            strange = next((item for item in found if not isinstance(item, kind)), None)
            if strange is not None:
                raise TypeError(f"{strange!r:.100} is not an instance of {kind.__name__}")
        except ANYTHING as exc:
            if impl.plugin_name == BUILTIN:
                raise
            manager().failed(impl.plugin_name, f"cannot list its {what}: {error_text(exc)}")
            continue
        yield from found


def _first(hook: str, *, built_in: bool = True, **given: Any) -> tuple[Any, str]:
    """Return the first answer and "", or None and a sentence about the plugins that failed.

    Without ``built_in`` only plugins are asked.

    An error of this project counts as an answer: the plugin knows the request and says what is wrong with it.
    """
    failures = []
    for impl in _implementations(hook):
        if impl.plugin_name == BUILTIN and not built_in:
            continue
        try:
            found = impl.function(*(given[name] for name in impl.argnames))
        except Swin2SROpsError:
            raise
        except ANYTHING as exc:
            if impl.plugin_name == BUILTIN:
                raise
            manager().failed(impl.plugin_name, f"failed in {PREFIX}{hook}: {error_text(exc)}")
            failures.append(f" Plugin {impl.plugin_name!r} failed at it: {error_text(exc)}")
            continue
        if found is not None:
            return found, ""
    return None, "".join(failures)


def model_specs() -> list[ModelSpec]:
    """List all models: plugins' first, then the shipped and the released ones.

    A plugin that fails is named in a warning and skipped.
    """
    return list(_all("model_specs", "models", ModelSpec))


def hosts() -> list[HostAdapter]:
    """List the host adapters of all plugins by name; skip plugins that fail."""
    return sorted(_all("hosts", "hosts", HostAdapter), key=lambda adapter: str(adapter.name))


def resolve_model(
    model: str | os.PathLike[str] | ModelSpec = "auto",
    *,
    task: str | None = None,
    scale: int | None = None,
    channels: int | None = None,
    **hints: Any,
) -> ModelSpec:
    """Resolve a model to its spec: a plugin's name, a catalogue name, a file or folder, or a spec.

    Parameters and errors are those of `swin2sr_ops.weights.loader.resolve_spec`.
    """
    from swin2sr_ops.weights.loader import resolve_spec

    if not isinstance(model, (str, os.PathLike, ModelSpec)):
        raise ModelError(f"model is {with_article(model)}: give a name of `list_models`, a path or a ModelSpec.")
    if model == "":  # an unset variable of a shell, which must not mean the working folder
        raise ModelError("model is an empty text: give a name of `list_models`, a path or a ModelSpec.")
    if isinstance(model, str) and not is_quality(model):
        model = next((spec for spec in model_specs() if spec.name == model), model)
    try:
        return resolve_spec(model, task=task, scale=scale, channels=channels, **hints)
    except ModelError as exc:
        if isinstance(model, ModelSpec) or is_quality(model):
            raise
        wanted = {"task": task, "scale": scale, "channels": channels}
        given = {name: value for name, value in wanted.items() if value is not None} | hints
        found = _of_plugin(os.fspath(model), given, exc)
    return resolve_spec(found, task=task, scale=scale)


def _of_plugin(model: str, wanted: dict[str, Any], error: ModelError) -> ModelSpec:
    """Return a plugin's spec of ``model``; raise ``error``, with what plugins said, if none has one."""
    try:
        found, failures = _first("resolve_model", model=model, wanted=wanted)
    except Swin2SROpsError as theirs:
        if not os.path.exists(model):  # a name that only the plugin understands
            raise
        raise type(error)(f"{error} {theirs}") from error
    if found is None:
        if failures:
            raise type(error)(f"{error}{failures}") from error
        raise error
    spec: ModelSpec = found
    return spec


def build_network(spec: ModelSpec) -> nn.Module:
    """Build the network of ``spec`` with its weights, on the CPU."""
    network, failures = _first("build_network", spec=spec)
    if network is None:
        raise ModelError(
            f"No plugin builds the network of {spec.name!r} (architecture {spec.architecture!r}).{failures}"
        )
    built: nn.Module = network
    return built


def network_of_plugin(spec: ModelSpec) -> nn.Module | None:
    """Build the network of ``spec`` if a plugin does; None if this package is left to build it."""
    network: nn.Module | None = _first("build_network", built_in=False, spec=spec)[0]
    return network


def notifier(progress: Progress | None) -> Progress:
    """Return a function that passes an event to ``progress`` and to every observer, and logs observers' failures."""
    observers = manager().hook.swin2sr_ops_progress

    def notify(event: Event) -> None:
        if progress is not None:
            progress(event)
        for observer in observers.get_hookimpls():
            try:
                observer.function(*(event for _ in observer.argnames))  # an observer may leave the argument out
            # An observer is another package's code; its failure must not stop the run.
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
        ``axes``, ``level``, ``series``, ``array``; the formats describe them.

    Raises
    ------
    FormatError
        If it is missing or damaged, or no format reads it.
    """
    given = {k: v for k, v in options.items() if v is not None}
    path = path_of(uri, "The source", "For an array, call swin2sr_ops.restore.")
    source, failures = _first("open_source", uri=path, options=given)
    if source is None:
        raise FormatError(
            f"No format reads {path!r}: give an OME-Zarr or Zarr folder, a TIFF, PNG or JPEG file, "
            f"or a plugin's format (`swin2sr-ops plugins` lists them).{failures}"
        )
    opened: ImageSource = source
    return opened


def check_output_options(
    function: Callable[..., Any], options: Mapping[str, object], *, also: Sequence[str] = ()
) -> None:
    """Reject an option that no output has; plugins that create sinks may have options of their own.

    Parameters
    ----------
    function : callable
        The called function: its keywords are suggested, too.
    options : mapping
        Keywords that it does not have.
    also : sequence of str
        Options that are not those of formats.

    Raises
    ------
    RequestError
        With the nearest option that there is.
    """
    from swin2sr_ops.request import OutputOptions  # it loads NumPy

    if any(impl.plugin_name != BUILTIN for impl in _implementations("create_sink")):
        return
    check_keywords(function.__name__, options, [*keywords_of(function), *OutputOptions.__annotations__, *also])


def create_sink(uri: str | os.PathLike[str], info: ImageInfo, **options: Any) -> ImageSink:
    """Create an output for the image that ``info`` describes; the suffix of ``uri`` selects the format."""
    given = {k: v for k, v in options.items() if v is not None}
    path = path_of(uri, "The output")
    sink, failures = _first("create_sink", uri=path, info=info, options=given)
    if sink is None:
        raise RequestError(
            f"The suffix of {path!r} does not say a format that can be written: end it with .ome.zarr, "
            f".zarr, .ome.tif, .tif, .png or the suffix of a plugin's format.{failures}"
        )
    created: ImageSink = sink
    return created
