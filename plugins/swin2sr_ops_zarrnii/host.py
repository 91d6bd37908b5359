"""Tell ``swin2sr-ops hosts`` about ZarrNii, through ZarrNii's own plugin manager."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from swin2sr_ops.errors import RequestError
from swin2sr_ops.hookspecs import hookimpl
from swin2sr_ops.hosting import HostStatus

__all__ = ["Adapter", "swin2sr_ops_hosts"]

_ENTRY = "swin2sr-ops"
_HOOKS = ("scaled_processing_plugin_name", "scaled_processing_plugin_description", "lowres_func", "highres_func")


class Adapter:
    """ZarrNii: OME-Zarr images of brains and other large specimens, with plugins of pluggy's."""

    name = "zarrnii"
    title = "ZarrNii"

    def status(self) -> HostStatus:
        """Check which plugins ZarrNii lists."""
        try:
            found = version("zarrnii")
        except PackageNotFoundError:
            detail = "ZarrNii is not installed: `pip install 'swin2sr-ops[zarrnii]'` brings it."
            return HostStatus(self.name, self.title, present=False, detail=detail)
        try:
            from zarrnii.plugins import get_plugin_manager

            manager = get_plugin_manager()
        # Foreign code, which loads all plugins: any error is the answer.
        except Exception as exc:  # noqa: BLE001
            detail = f"ZarrNii cannot list its plugins: {exc!r}"
            return HostStatus(self.name, self.title, present=True, version=found, detail=detail)
        return self._of(manager, found)

    def _of(self, manager: Any, found: str) -> HostStatus:
        plugin = manager.get_plugin(_ENTRY)
        if plugin is None:
            detail = "ZarrNii does not list the plugin: install swin2sr-ops again, so that its entry points are known."
            return HostStatus(self.name, self.title, present=True, version=found, detail=detail)
        mine = {caller.name for caller in manager.get_hookcallers(plugin) or ()}
        missing = [hook for hook in _HOOKS if hook not in mine]
        detail = (
            f"This version of ZarrNii has no {', '.join(missing)}."
            if missing
            else f"Plugin {_ENTRY!r}: znimg.apply_scaled_processing(Restoration(model=...))."
        )
        return HostStatus(
            self.name, self.title, present=True, registered=True, working=not missing, version=found, detail=detail
        )

    def install(self) -> str:
        """Raise an error, because nothing needs to be installed.

        Raises
        ------
        RequestError
            Always: ZarrNii finds the plugin by itself.
        """
        raise RequestError("ZarrNii finds the plugin by itself once both are installed in one environment.")


@hookimpl
def swin2sr_ops_hosts() -> list[Adapter]:
    """List the adapter of ZarrNii."""
    return [Adapter()]
