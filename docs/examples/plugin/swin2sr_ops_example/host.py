"""A host: IPython and Jupyter get the line magic ``%restore SOURCE TARGET``."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from swin2sr_ops import RequestError, hookimpl, restore_image
from swin2sr_ops.hooks.hosts import HostStatus


def restore(line: str) -> str:
    """``%restore SOURCE TARGET``"""
    source, target = line.split()
    return str(restore_image(source, target))


def load_ipython_extension(shell: Any) -> None:
    """Register the magic; ``%load_ext swin2sr_ops_example.host`` calls this."""
    shell.register_magic_function(restore, "line", "restore")


class IPythonHost:
    name = "ipython"
    title = "IPython"

    def status(self) -> HostStatus:
        """Load the extension into a shell of our own, and look whether it has the magic."""
        if find_spec("IPython") is None:
            return HostStatus(self.name, self.title, present=False, detail="`pip install ipython` brings it.")
        shell = import_module("IPython.core.interactiveshell").InteractiveShell()
        shell.extension_manager.load_extension(__name__)
        known = shell.find_line_magic("restore") is not None
        detail = f"`%load_ext {__name__}`, then `%restore in.tif out.tif`."
        version = import_module("IPython").__version__
        return HostStatus(self.name, self.title, True, registered=known, working=known, version=version, detail=detail)

    def install(self) -> str:
        raise RequestError(f"Nothing is to be installed into IPython: `%load_ext {__name__}` is enough.")


@hookimpl
def swin2sr_ops_hosts() -> list[IPythonHost]:
    """List the host."""
    return [IPythonHost()]
