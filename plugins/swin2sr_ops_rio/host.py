"""Tell ``swin2sr-ops hosts`` about rasterio's command line."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec

from swin2sr_ops import RequestError, hookimpl
from swin2sr_ops.hosting import HostAdapter, HostStatus

__all__ = ["RioHost"]

_INSTALL = "rasterio is not installed: `pip install 'swin2sr-ops[geo]'` brings it."


class RioHost:
    """rasterio's ``rio``, which finds commands by the entry-point group ``rasterio.rio_plugins``."""

    name = "rio"
    title = "rasterio's rio"

    def status(self) -> HostStatus:
        """Ask ``rio`` for its commands."""
        if find_spec("rasterio") is None:
            return HostStatus(self.name, self.title, present=False, detail=_INSTALL)
        version = str(import_module("rasterio").__version__)
        found = import_module("rasterio.rio.main").main_group.commands.get("restore")
        # If a command cannot be loaded, rio lists a placeholder that reports it.
        working = found is not None and found is import_module("swin2sr_ops_rio.command").restore
        detail = "`rio restore INPUT OUTPUT`" if working else "rio does not list `restore`: install swin2sr-ops again."
        return HostStatus(
            self.name, self.title, present=True, registered=found is not None, working=working, version=version,
            detail=detail,
        )  # fmt: skip

    def install(self) -> str:
        """Raise an error, because nothing needs to be installed."""
        if find_spec("rasterio") is None:
            raise RequestError(_INSTALL)
        raise RequestError("Nothing needs to be installed into rio: swin2sr-ops already brings `rio restore`.")


@hookimpl
def swin2sr_ops_hosts() -> Iterable[HostAdapter]:
    """List the adapter of rio."""
    return [RioHost()]
