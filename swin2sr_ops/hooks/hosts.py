"""Describe the applications that can use the operator, and ask each for its state.

A host adapter describes one application: whether it is present, whether it lists the operator
(asked from the application itself), and how to register the operator if installing this package
is not enough. Adapters come from the hook ``swin2sr_ops_hosts``; this module imports no application.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

__all__ = ["HostAdapter", "HostStatus", "statuses"]


@dataclass(frozen=True)
class HostStatus:
    """State of one application, as its adapter reports it.

    Attributes
    ----------
    name, title : str
        Name for commands ("napari") and title for people.
    present : bool
        Whether the application, or its library, can be used here.
    registered : bool
        Whether the application's own discovery lists the operator.
    working : bool
        Whether the listed operator can be loaded.
    version : str
        Version of the application.
    detail : str
        One sentence: what is missing and what to do, or where to find the operator.
    problem : str
        Why the state is unknown: the adapter failed or took too long. Adapters leave it empty.
    """

    name: str
    title: str
    present: bool
    registered: bool = False
    working: bool = False
    version: str = ""
    detail: str = ""
    problem: str = ""

    @property
    def state(self) -> str:
        """Return the state in one word.

        ``working``, ``broken`` (listed, but loading it fails), ``present``, ``absent`` or ``unknown``.
        """
        if self.problem:
            return "unknown"
        if not self.present:
            return "absent"
        return "working" if self.registered and self.working else "broken" if self.registered else "present"

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that can be stored as JSON."""
        return asdict(self) | {"state": self.state}


@runtime_checkable
class HostAdapter(Protocol):
    """Adapter of one application."""

    name: str
    title: str

    def status(self) -> HostStatus:
        """Ask the application for its state; import the application only here."""
        ...

    def install(self) -> str:
        """Register the operator in the application; return a sentence that says where.

        Raises
        ------
        RequestError
            If installing this package was enough, or the application is missing.
        """
        ...


def statuses(adapters: Sequence[HostAdapter], timeout: float = 30.0) -> list[HostStatus]:
    """Ask all adapters in parallel; one that fails or hangs does not block the others.

    Output that applications print meanwhile goes to standard error.

    Parameters
    ----------
    adapters : sequence of HostAdapter
    timeout : float
        Seconds for all of them together.
    """
    found: list[HostStatus | None] = [None] * len(adapters)

    def ask(i: int, adapter: HostAdapter) -> None:
        found[i] = _status(adapter)

    until = time.monotonic() + timeout
    with redirect_stdout(sys.stderr):
        # Daemon threads: an application that hangs during its import must not keep this process alive.
        threads = [threading.Thread(target=ask, args=pair, daemon=True) for pair in enumerate(adapters)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(until - time.monotonic(), 0))
    late = f"It did not answer within {timeout:g} s."
    return [status or _unknown(adapter, late) for status, adapter in zip(found, adapters, strict=True)]


def _status(adapter: HostAdapter) -> HostStatus:
    try:
        status = adapter.status()
    # Foreign code: an adapter may raise anything, and importing a broken application may even exit the process.
    except (Exception, SystemExit) as exc:  # noqa: BLE001
        return _unknown(adapter, f"Its adapter failed: {type(exc).__name__}: {exc}")
    if not isinstance(status, HostStatus):
        return _unknown(adapter, f"Its adapter returned {status!r:.100}, which is not a HostStatus.")
    return status


def _unknown(adapter: HostAdapter, problem: str) -> HostStatus:
    return HostStatus(str(adapter.name), str(adapter.title), present=False, problem=" ".join(problem.split()))
