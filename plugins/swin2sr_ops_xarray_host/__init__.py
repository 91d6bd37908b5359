"""Tell ``swin2sr-ops hosts`` about xarray.

A package of its own: importing ``swin2sr_ops_xarray`` registers the accessor, which needs xarray,
and an adapter must cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec

from swin2sr_ops import RequestError, hookimpl
from swin2sr_ops.hosting import HostAdapter, HostStatus

__all__ = ["XarrayHost"]

_INSTALL = "`pip install 'swin2sr-ops[xarray]'` brings it."


class XarrayHost:
    """xarray; it knows accessors once their module is imported."""

    name = "xarray"
    title = "xarray"

    def status(self) -> HostStatus:
        """Import xarray and the accessor, and check that arrays have it."""
        if find_spec("xarray") is None:
            return HostStatus(self.name, self.title, present=False, detail=f"xarray is not installed: {_INSTALL}")
        xarray = import_module("xarray")
        import_module("swin2sr_ops_xarray")
        kinds = (xarray.DataArray, xarray.Dataset)
        registered = all(hasattr(kind, "swin2sr") for kind in kinds)
        working = registered and all(hasattr(kind.swin2sr, "restore") for kind in kinds)
        detail = "`import swin2sr_ops_xarray` gives arrays and datasets `.swin2sr.restore()`."
        return HostStatus(
            self.name, self.title, present=True, registered=registered, working=working,
            version=str(xarray.__version__), detail=detail,
        )  # fmt: skip

    def install(self) -> str:
        """Raise an error, because nothing needs to be installed."""
        if find_spec("xarray") is None:
            raise RequestError(f"xarray is not installed: {_INSTALL}")
        raise RequestError("Nothing needs to be installed into xarray: `import swin2sr_ops_xarray` is enough.")


@hookimpl
def swin2sr_ops_hosts() -> Iterable[HostAdapter]:
    """List the adapter of xarray."""
    return [XarrayHost()]
