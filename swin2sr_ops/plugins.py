"""The plugin manager: finds plugins, loads them safely, and asks them.

Environment
-----------
SWIN2SR_OPS_PLUGINS
    ``0`` switches discovery off; a list of entry-point names loads those alone.
SWIN2SR_OPS_BLOCK
    Entry-point names that are not loaded.
"""

from __future__ import annotations

import os
import warnings
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

import pluggy

from swin2sr_ops import hookspecs
from swin2sr_ops.errors import FormatError, ModelError, RequestError

if TYPE_CHECKING:
    from swin2sr_ops.io.base import ImageInfo, ImageSink, ImageSource
    from swin2sr_ops.nets.network import SwinNet
    from swin2sr_ops.spec import ModelSpec

__all__ = ["build_network", "create_sink", "manager", "model_specs", "new_manager", "open_source", "resolve_model"]

_BUILTIN = "swin2sr_ops.builtin"
_PREFIX = f"{hookspecs.PROJECT}_"
_HOOKS = tuple(name for name in dir(hookspecs) if name.startswith(_PREFIX))


@lru_cache(maxsize=1)
def manager() -> pluggy.PluginManager:
    """The process's plugin manager."""
    return new_manager()


def new_manager() -> pluggy.PluginManager:
    """A fresh manager: built-ins, then what is installed; a broken plugin is named and left out."""
    from swin2sr_ops import builtin

    found = pluggy.PluginManager(hookspecs.PROJECT)
    found.add_hookspecs(hookspecs)
    found.register(builtin, _BUILTIN)
    for entry in sorted(entry_points(group=hookspecs.GROUP), key=lambda e: e.name):
        if _wanted(entry.name):
            _load(found, entry)
    return found


def _wanted(name: str) -> bool:
    chosen = os.environ.get("SWIN2SR_OPS_PLUGINS")
    blocked = _names(os.environ.get("SWIN2SR_OPS_BLOCK", ""))
    return name not in blocked and (chosen is None or name in _names(chosen))


def _names(text: str) -> set[str]:
    return {part.strip() for part in text.split(",") if part.strip()}


def _load(found: pluggy.PluginManager, entry: EntryPoint) -> None:
    plugin = None
    try:
        plugin = entry.load()
        _check_hooks(found, plugin)
        found.register(plugin, entry.name)
    # Any error at all: it is somebody else's code, and one broken plugin must not take the rest down.
    except Exception as exc:  # noqa: BLE001
        if plugin is not None and found.get_plugin(entry.name) is plugin:
            found.unregister(plugin)  # pluggy before 1.7 keeps the hooks that come before a wrong one
        warnings.warn(f"Plugin {entry.name!r} ({entry.value}) was left out: {exc!r}", stacklevel=3)


def _check_hooks(found: pluggy.PluginManager, plugin: object) -> None:
    """Refuse hooks that nobody would ever call. Before `register`, which makes a place for any name."""
    for name in dir(plugin):
        options: Any = found.parse_hookimpl_opts(plugin, name)
        if options is None:
            if name.startswith(_PREFIX) and callable(getattr(plugin, name)):
                raise RequestError(f"its {name} is not marked with hookimpl")
        elif not options["optionalhook"] and (options["specname"] or name) not in _HOOKS:
            raise RequestError(f"it has a hook that does not exist, {name}; there are {', '.join(_HOOKS)}")


def model_specs() -> list[ModelSpec]:
    """All models that somebody lists: plugins' first, then the shipped and the released ones.

    A plugin that fails at it is named in a warning and left out.
    """
    specs: list[ModelSpec] = []
    for impl in reversed(manager().hook.swin2sr_ops_model_specs.get_hookimpls()):  # pluggy's own order
        try:
            listed: Any = impl.function()
            specs += () if listed is None else listed
        except Exception as exc:
            if impl.plugin_name == _BUILTIN:
                raise
            warnings.warn(f"Plugin {impl.plugin_name!r} cannot list its models: {exc!r}", stacklevel=2)
    return specs


def resolve_model(model: str | os.PathLike[str] | ModelSpec = "auto", **wanted: Any) -> ModelSpec:
    """The spec of what a user calls a model: a plugin's name, a catalogue name, a file or folder, a spec.

    ``wanted`` holds ``scale``, ``task``, ``channels`` and what a checkpoint does not say about itself;
    see `swin2sr_ops.weights.loader.resolve_spec`.
    """
    from swin2sr_ops.weights.loader import resolve_spec

    if isinstance(model, str) and model != "auto":
        model = next((spec for spec in model_specs() if spec.name == model), model)
    return resolve_spec(model, **wanted)


def build_network(spec: ModelSpec) -> SwinNet:
    """The network of ``spec``, with its weights, on the CPU."""
    network: SwinNet | None = manager().hook.swin2sr_ops_build_network(spec=spec)
    if network is None:
        raise ModelError(f"No plugin builds the network of {spec.name!r} (architecture {spec.architecture!r}).")
    return network


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
    source: ImageSource | None = manager().hook.swin2sr_ops_open_source(uri=os.fspath(uri), options=given)
    if source is None:
        raise FormatError(
            f"{os.fspath(uri)!r} is of no format that is read here: expected OME-Zarr or Zarr (a folder), "
            "TIFF, PNG or JPEG. `swin2sr-ops info` says what it finds."
        )
    return source


def create_sink(uri: str | os.PathLike[str], info: ImageInfo, **options: Any) -> ImageSink:
    """Create an output for the image ``info`` describes; its format follows from the suffix of ``uri``."""
    given = {k: v for k, v in options.items() if v is not None}
    sink: ImageSink | None = manager().hook.swin2sr_ops_create_sink(uri=os.fspath(uri), info=info, options=given)
    if sink is None:
        raise RequestError(
            f"{os.fspath(uri)!r} does not say a format that is written here: end it with .ome.zarr, .zarr, "
            ".ome.tif, .tif or .png."
        )
    return sink
