"""Tell ``swin2sr-ops hosts`` about Fractal, through its manifest tool; a server needs a check by its administrator."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from swin2sr_ops.errors import RequestError
from swin2sr_ops.hookspecs import hookimpl
from swin2sr_ops.hosting import HostStatus

__all__ = ["CHECK", "Adapter", "swin2sr_ops_hosts"]

#: Arguments of ``fractal-manifest`` that locate the tasks.
CHECK = ("check", "--package", "swin2sr_ops", "--task-list-path", "fractal_tasks.task_list")
_MANIFEST = "__FRACTAL_MANIFEST__.json"
_HOW = "A server collects it as the package swin2sr-ops with the extra fractal."
_SECONDS = 120


class Adapter:
    """Fractal: workflows on OME-Zarr plates, on clusters."""

    name = "fractal"
    title = "Fractal"

    def status(self) -> HostStatus:
        """Let Fractal's tool compare the manifest with the tasks, which loads them."""
        try:
            found = version("fractal-task-tools")
        except PackageNotFoundError:
            detail = "Fractal's task tools are not installed: `pip install 'swin2sr-ops[fractal]'` brings them."
            return HostStatus(self.name, self.title, present=False, detail=detail)
        manifest = _manifest()
        if not manifest.is_file():
            detail = f"The manifest {str(manifest)!r} is missing: install swin2sr-ops again."
            return HostStatus(self.name, self.title, present=True, version=found, detail=detail)
        wrong = _check()
        detail = f"The manifest does not fit the tasks: {wrong}" if wrong else f"Manifest {str(manifest)!r}. {_HOW}"
        return HostStatus(
            self.name, self.title, present=True, registered=True, working=not wrong, version=found, detail=detail
        )

    def install(self) -> str:
        """Raise an error, because nothing needs to be installed here.

        Raises
        ------
        RequestError
            Always: tasks are collected by a server.
        """
        raise RequestError(f"Nothing needs to be installed here. {_HOW}")


def _manifest() -> Path:
    import swin2sr_ops

    return Path(swin2sr_ops.__file__).with_name(_MANIFEST)


def _check() -> str:
    """Return the tool's complaint; empty if there is none. The tool is a program: its modules are private."""
    code = "from fractal_task_tools._cli import main; main()"
    try:
        done = subprocess.run(  # noqa: S603  # this very Python
            [sys.executable, "-c", code, *CHECK],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return str(exc)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no reason was given"])[-1]


@hookimpl
def swin2sr_ops_hosts() -> list[Adapter]:
    """List the adapter of Fractal."""
    return [Adapter()]
