"""The adapter of napari: is it here, does it know the operator, does what it lists load.

napari itself reads `napari.yaml`; this is the other half, and `tests/napari_plugin/test_host.py`
keeps the two together. Nothing heavy is imported before `status` is asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from swin2sr_ops.errors import RequestError
from swin2sr_ops.hookspecs import hookimpl
from swin2sr_ops.hosting import HostAdapter, HostStatus

__all__ = ["COMMANDS", "MENU", "NAME", "TRAIN_WIDGET", "WIDGET", "NapariAdapter", "swin2sr_ops_hosts"]

#: The plugin's name in napari: that of the distribution.
NAME = "swin2sr-ops"
#: Where the operator is found, in napari's words: the menu, and our menu in it.
MENU = ("napari/layers/filter", "swin2sr-ops/restoration")
#: Titles of the dock widgets.
WIDGET, TRAIN_WIDGET = "Restore", "Train"
#: What the operator consists of; each is a command in the manifest.
COMMANDS = ("restore", "preview", "train", "cells", "photo", "large", "write")


class NapariAdapter:
    """napari, the viewer of n-dimensional images."""

    name = "napari"
    title = "napari"

    def status(self) -> HostStatus:
        """Ask napari's plugin manager (npe2); no window is opened."""
        missing = [name for name in ("napari", "npe2") if find_spec(name) is None]
        if missing:
            return HostStatus(
                self.name, self.title, present=False,
                detail="napari is not installed here. Install swin2sr-ops[napari] and a Qt binding (napari[pyqt6]).",
            )  # fmt: skip
        try:
            found = version("napari")
        except PackageNotFoundError:
            found = ""
        problem = _registration()
        if problem:
            return HostStatus(self.name, self.title, True, version=found, detail=problem)
        broken = _broken()
        where = "Layers > Filter > Restoration, and Plugins > Restore (Swin2SR ops)."
        return HostStatus(self.name, self.title, True, True, not broken, found, broken or where)

    def install(self) -> str:
        """Say that nothing is to be done: napari finds installed plugins itself."""
        raise RequestError(
            "Nothing has to be put into napari: it finds swin2sr-ops where both are installed in one environment. "
            "Install swin2sr-ops[napari] there."
        )


def _registration() -> str:
    """Return why napari does not list the operator; empty if it does."""
    from npe2 import PluginManager

    manager = PluginManager.instance()
    manager.discover()
    try:
        manifest = manager.get_manifest(NAME)
    except KeyError:
        return "napari does not find the plugin: install swin2sr-ops in the environment that napari runs in."
    if manager.is_disabled(NAME):
        return "The plugin is switched off in napari: switch it on in Plugins > Install/Uninstall Plugins."
    given = {command.id for command in manifest.contributions.commands or ()}
    lost = [command for command in COMMANDS if f"{NAME}.{command}" not in given]
    return f"napari lists the plugin without {', '.join(lost)}: install swin2sr-ops again." if lost else ""


def _broken() -> str:
    """Return the listed command that cannot be loaded, and the reason; empty if all can."""
    from npe2 import PluginManager

    commands = PluginManager.instance().commands
    for command in COMMANDS:
        try:
            commands.get(f"{NAME}.{command}")
        # Loading a command imports Qt's binding, which fails in ways of its own where libraries are missing.
        except Exception as exc:  # noqa: BLE001
            return f"napari lists the plugin, but {command!r} cannot be loaded: {exc}"
    return ""


@hookimpl
def swin2sr_ops_hosts() -> Iterable[HostAdapter]:
    """napari."""
    return [NapariAdapter()]
