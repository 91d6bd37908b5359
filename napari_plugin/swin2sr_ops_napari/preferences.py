"""Read the page Preferences > Plugins: model, device, memory share, cache folder. No Qt here."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Preferences", "preferences", "watch"]

_PLUGIN, _CACHE = "swin2sr-ops", "SWIN2SR_OPS_CACHE"
#: What the environment said before anything was set here.
_outside = os.environ.get(_CACHE)


@dataclass(frozen=True)
class Preferences:
    """The page's values; the defaults hold where napari has no such pages (before 0.9)."""

    model: str = "auto"
    device: str = "auto"
    memory_share: float = 0.5
    cache_folder: str = ""


def preferences() -> Preferences:
    """Read the page, and let downloaded models be kept where it says."""
    page = _page()
    if page is None:
        return Preferences()
    found = Preferences(page.model.strip() or "auto", page.device, page.memory_share / 100, page.cache_folder.strip())
    _use_cache(found.cache_folder)
    return found


def watch(changed: Callable[[], None]) -> Callable[[], None]:
    """Call ``changed`` when the page changes; the result disconnects it."""
    page = _page()
    if page is None:
        return lambda: None

    def heard(_event: Any) -> None:
        changed()

    page.events.connect(heard)
    return lambda: page.events.disconnect(heard)


def _page() -> Any:
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return None
    try:
        return get_plugin_settings(_PLUGIN).restore
    except (KeyError, AttributeError):  # the plugin is switched off, or was installed while napari was open
        return None


def _use_cache(folder: str) -> None:
    """The core looks at the environment; an empty preference leaves there what was said outside."""
    if folder:
        os.environ[_CACHE] = folder
    elif _outside is not None:
        os.environ[_CACHE] = _outside
    else:
        os.environ.pop(_CACHE, None)
