"""What is installed: finds plugins by their entry points and loads them safely.

A plugin is somebody else's code. Whatever it does wrong is told in a warning with its name and kept
for ``swin2sr-ops plugins``; the others go on. What they are asked is in `swin2sr_ops.hooks.dispatch`.

Environment
-----------
SWIN2SR_OPS_PLUGINS
    ``0`` switches discovery off; a list of entry-point names loads those alone.
SWIN2SR_OPS_BLOCK
    Entry-point names that are not loaded.
"""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from swin2sr_ops import hookspecs
from swin2sr_ops.errors import RequestError, Swin2SROpsError

__all__ = ["ANYTHING", "BUILTIN", "PREFIX", "PluginInfo", "PluginManager", "manager", "new_manager", "told"]

BUILTIN = "swin2sr_ops.hooks.builtin"
PREFIX = f"{hookspecs.PROJECT}_"
#: What a plugin may raise: anything, an exit at import too.
ANYTHING = (Exception, SystemExit)
_HOOKS = tuple(name for name in dir(hookspecs) if name.startswith(PREFIX))


def told(exc: BaseException) -> str:
    """An error in a line: this project's are sentences, of others the kind is worth knowing."""
    text = " ".join(str(exc).split())
    return text if isinstance(exc, Swin2SROpsError) and text else f"{type(exc).__name__}: {text}" if text else repr(exc)


@dataclass(frozen=True)
class PluginInfo:
    """What became of an entry point.

    Attributes
    ----------
    name, value : str
        Of the entry point: what it is called, and the module it names.
    status : {"loaded", "broken", "blocked"}
        ``broken``: it could not be loaded, or failed when it was asked.
    reason : str
        Why it is broken or blocked.
    hooks : tuple of str
        What it implements, without ``swin2sr_ops_``.
    distribution, version : str
        What was installed; empty where that is not known.
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
        """What to do about it, where there is something."""
        if self.status == "broken":
            newer = f"Try `pip install --upgrade {self.distribution}`, or leave" if self.distribution else "Leave"
            return f"{newer} it out with SWIN2SR_OPS_BLOCK={self.name}, and tell its author. The rest works."
        if self.status == "blocked":
            return "Change that variable in the environment to have it."
        return "" if self.hooks else "It implements no hook, and so does nothing: is it up to date?"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"hooks": list(self.hooks), "advice": self.advice}


class PluginManager(pluggy.PluginManager):
    """pluggy's manager, which also keeps what became of every entry point."""

    def __init__(self) -> None:
        super().__init__(hookspecs.PROJECT)
        self.add_hookspecs(hookspecs)
        self.infos: list[PluginInfo] = []

    def load(self, entry: EntryPoint) -> None:
        """Load a plugin, if the environment wants it; a broken one is named and left out."""
        dist = getattr(entry, "dist", None)
        info = PluginInfo(
            entry.name, entry.value, distribution=dist.name if dist else "", version=dist.version if dist else ""
        )
        refusal = _refusal(entry.name)
        if refusal:
            self.infos.append(replace(info, status="blocked", reason=refusal))
            return
        plugin = None
        try:
            if self.has_plugin(entry.name):
                raise RequestError(f"another plugin is called {entry.name!r} too")
            with redirect_stdout(sys.stderr):  # a program may read what this one prints
                plugin = entry.load()
            _check_hooks(self, plugin)
            self.register(plugin, entry.name)
        except ANYTHING as exc:
            if plugin is not None and self.get_plugin(entry.name) is plugin:
                self.unregister(plugin)  # pluggy before 1.7 keeps the hooks that come before a wrong one
            self.infos.append(replace(info, status="broken", reason=told(exc)))
            warnings.warn(f"Plugin {entry.name!r} ({entry.value}) was left out: {told(exc)}", stacklevel=3)
            return
        self.infos.append(replace(info, hooks=_hooks_of(self, plugin)))

    def failed(self, name: str, how: str) -> None:
        """Name a plugin that failed when it was asked, and remember it."""
        warnings.warn(f"Plugin {name!r} {how}", stacklevel=4)
        for i, info in enumerate(self.infos):
            if info.name == name and info.status == "loaded":
                self.infos[i] = replace(info, status="broken", reason=how)


@lru_cache(maxsize=1)
def manager() -> PluginManager:
    """The process's plugin manager."""
    return new_manager()


def new_manager() -> PluginManager:
    """A fresh manager: built-ins, then what is installed; a broken plugin is named and left out."""
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


def _refusal(name: str) -> str:
    """Why the environment does not want a plugin; empty if it does."""
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
    """Refuse hooks that nobody would ever call. Before `register`, which makes a place for any name."""
    for name in dir(plugin):
        options: Any = found.parse_hookimpl_opts(plugin, name)
        if options is None:
            if name.startswith(PREFIX) and callable(getattr(plugin, name)):
                raise RequestError(f"its {name} is not marked with hookimpl")
        elif options["wrapper"] or options["hookwrapper"]:
            raise RequestError(f"its {name} is a wrapper around others' hooks, of which there are none here")
        elif not options["optionalhook"] and (options["specname"] or name) not in _HOOKS:
            raise RequestError(f"it has a hook that does not exist, {options['specname'] or name}; {_instead(name)}")


def _instead(name: str) -> str:
    near = get_close_matches(name, _HOOKS, 1) or get_close_matches(PREFIX + name, _HOOKS, 1)
    return f"it may mean {near[0]}" if near else f"there are {', '.join(_HOOKS)}"
