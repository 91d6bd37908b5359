"""Find plugins by their entry points and load them safely.

A plugin is foreign code. Each failure is named in a warning and recorded for ``swin2sr-ops plugins``;
the other plugins still work. `swin2sr_ops.hooks.dispatch` calls the hooks.

Environment
-----------
SWIN2SR_OPS_PLUGINS
    ``0`` switches discovery off; a list of entry-point names loads only those.
SWIN2SR_OPS_BLOCK
    Names of entry points to skip.
"""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import Any

import pluggy

from swin2sr_ops import hookspecs
from swin2sr_ops.errors import RequestError, Swin2SROpsError

__all__ = ["ANYTHING", "BUILTIN", "PREFIX", "PluginInfo", "PluginManager", "error_text", "manager", "new_manager"]

BUILTIN = "swin2sr_ops.hooks.builtin"
PREFIX = f"{hookspecs.PROJECT}_"
#: Exceptions that a plugin may raise: any, and also an exit during import.
ANYTHING = (Exception, SystemExit)
_HOOKS = tuple(name for name in dir(hookspecs) if name.startswith(PREFIX))


def error_text(exc: BaseException) -> str:
    """Format an error as one line; prefix the class name unless the error is this project's own."""
    text = " ".join(str(exc).split())
    return text if isinstance(exc, Swin2SROpsError) and text else f"{type(exc).__name__}: {text}" if text else repr(exc)


@dataclass(frozen=True)
class PluginInfo:
    """State of one entry point.

    Attributes
    ----------
    name, value : str
        Name of the entry point, and the module that it names.
    status : {"loaded", "broken", "blocked"}
        ``broken``: loading it failed, or a call of one of its hooks failed.
    reason : str
        Why the plugin is broken or blocked.
    hooks : tuple of str
        Hooks that it implements, without the prefix ``swin2sr_ops_``.
    distribution, version : str
        Installed distribution and its version; empty if unknown.
    """

    name: str
    value: str
    status: str = "loaded"
    reason: str = ""
    hooks: tuple[str, ...] = ()
    distribution: str = ""
    version: str = ""

    @property
    def advice(self) -> str:
        """Advice on what to do about the plugin; empty if it works."""
        if self.status == "broken":
            newer = f"Try `pip install --upgrade {self.distribution}`, or leave" if self.distribution else "Leave"
            return f"{newer} it out with SWIN2SR_OPS_BLOCK={self.name}, and inform its author. The rest works."
        if self.status == "blocked":
            return "To load it, change that environment variable."
        return "" if self.hooks else "It implements no hook and has no effect: is it up to date?"

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that can be stored as JSON."""
        return asdict(self) | {"hooks": list(self.hooks), "advice": self.advice}


class PluginManager(pluggy.PluginManager):
    """Extend pluggy's manager with the state of every entry point."""

    def __init__(self) -> None:
        super().__init__(hookspecs.PROJECT)
        self.add_hookspecs(hookspecs)
        self.infos: list[PluginInfo] = []

    def load(self, entry: EntryPoint) -> None:
        """Load a plugin unless the environment blocks it; name a broken one in a warning and skip it."""
        name, version = _name_and_version(getattr(entry, "dist", None))
        info = PluginInfo(entry.name, entry.value, distribution=name, version=version)
        refusal = _refusal(entry.name)
        if refusal:
            self.infos.append(replace(info, status="blocked", reason=refusal))
            return
        plugin = None
        try:
            if self.has_plugin(entry.name):
                raise RequestError(f"another plugin is called {entry.name!r} too")
            with redirect_stdout(sys.stderr):  # another program may parse this process's standard output
                plugin = entry.load()
            _check_hooks(self, plugin)
            self.register(plugin, entry.name)
        except ANYTHING as exc:
            if plugin is not None and self.get_plugin(entry.name) is plugin:
                self.unregister(plugin)  # pluggy before 1.7 keeps the hooks registered before the wrong one
            self.infos.append(replace(info, status="broken", reason=error_text(exc)))
            warnings.warn(f"Plugin {entry.name!r} ({entry.value}) was left out: {error_text(exc)}", stacklevel=3)
            return
        self.infos.append(replace(info, hooks=_hooks_of(self, plugin)))

    def failed(self, name: str, how: str) -> None:
        """Warn of a plugin whose hook failed, and record the failure."""
        warnings.warn(f"Plugin {name!r} {how}", stacklevel=4)
        for i, info in enumerate(self.infos):
            if info.name == name and info.status == "loaded":
                self.infos[i] = replace(info, status="broken", reason=how)


@lru_cache(maxsize=1)
def manager() -> PluginManager:
    """Return the plugin manager of this process."""
    return new_manager()


def new_manager() -> PluginManager:
    """Create a manager with the built-ins and the installed plugins; name broken plugins in warnings and skip them."""
    from swin2sr_ops import __version__
    from swin2sr_ops.hooks import builtin

    found = PluginManager()
    found.register(builtin, BUILTIN)
    found.infos.append(
        PluginInfo("builtin", BUILTIN, "loaded", "", _hooks_of(found, builtin), "swin2sr-ops", __version__)
    )
    for entry in sorted(entry_points(group=hookspecs.GROUP), key=lambda e: e.name):
        found.load(entry)
    return found


@lru_cache
def _name_and_version(dist: Distribution | None) -> tuple[str, str]:
    """Return what a distribution is called, reading its metadata once for all its entry points."""
    metadata = dist.metadata if dist else {"Name": "", "Version": ""}
    return metadata["Name"], metadata["Version"]


def _refusal(name: str) -> str:
    """Return why the environment blocks a plugin; empty if it does not."""
    chosen = os.environ.get("SWIN2SR_OPS_PLUGINS")
    if name in _names(os.environ.get("SWIN2SR_OPS_BLOCK", "")):
        return "named in SWIN2SR_OPS_BLOCK"
    return "" if chosen is None or name in _names(chosen) else "not named in SWIN2SR_OPS_PLUGINS"


def _names(text: str) -> set[str]:
    return {part.strip() for part in text.split(",") if part.strip()}


def _hooks_of(found: PluginManager, plugin: object) -> tuple[str, ...]:
    callers: Any = found.get_hookcallers(plugin) or ()
    return tuple(sorted(caller.name.removeprefix(PREFIX) for caller in callers))


def _check_hooks(found: PluginManager, plugin: object) -> None:
    """Reject hooks that would never be called; run before `register`, which accepts any name."""
    for name in dir(plugin):
        options: Any = found.parse_hookimpl_opts(plugin, name)
        if options is None:
            if name.startswith(PREFIX) and callable(getattr(plugin, name)):
                raise RequestError(f"its {name} is not marked with hookimpl")
        elif options["wrapper"] or options["hookwrapper"]:
            raise RequestError(f"its {name} wraps other plugins' hooks, which is not supported")
        elif not options["optionalhook"] and (options["specname"] or name) not in _HOOKS:
            raise RequestError(f"it has a hook that does not exist, {options['specname'] or name}; {_instead(name)}")


def _instead(name: str) -> str:
    near = get_close_matches(name, _HOOKS, 1) or get_close_matches(PREFIX + name, _HOOKS, 1)
    return f"it may mean {near[0]}" if near else f"there are {', '.join(_HOOKS)}"
