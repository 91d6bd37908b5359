"""Applications that take the operator: what an adapter is, and what it says about its host.

A host adapter describes one application: whether it is present, whether it knows the operator
(asked from the application itself), and how the operator is put into it where installing this
package is not enough. Adapters come through the hook ``swin2sr_ops_hosts``; nothing here imports
an application.
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
    """What an adapter found.

    Attributes
    ----------
    name, title : str
        For commands ("napari"), and for people.
    present : bool
        Whether the application, or its library, can be used here.
    registered : bool
        Whether the application lists the operator, asked from its own discovery.
    working : bool
        Whether what it lists could be loaded.
    version : str
        Of the application.
    detail : str
        A sentence: what is missing and what to do, or where the operator is found.
    problem : str
        Why the adapter could not tell, where it failed or took too long. Adapters leave it empty.
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
        """In one word: ``working``, ``broken`` (listed, and cannot be loaded), ``present``, ``absent``, ``unknown``."""
        if self.problem:
            return "unknown"
        if not self.present:
            return "absent"
        return "working" if self.registered and self.working else "broken" if self.registered else "present"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"state": self.state}


@runtime_checkable
class HostAdapter(Protocol):
    """One application."""

    name: str
    title: str

    def status(self) -> HostStatus:
        """Ask the application; it is imported only here."""
        ...

    def install(self) -> str:
        """Put the operator into the application; returns a sentence that says where.

        Raises
        ------
        RequestError
            Installing this package was enough, or the application is not there.
        """
        ...


def statuses(adapters: Sequence[HostAdapter], timeout: float = 30.0) -> list[HostStatus]:
    """Ask all adapters at the same time; one that fails or hangs does not keep the others from answering.

    What applications print on the way goes to standard error.

    Parameters
    ----------
    adapters : sequence of HostAdapter
    timeout : float
        Seconds, for all of them together.
    """
    found: list[HostStatus | None] = [None] * len(adapters)

    def ask(i: int, adapter: HostAdapter) -> None:
        found[i] = _status(adapter)

    until = time.monotonic() + timeout
    with redirect_stdout(sys.stderr):
        # Daemons: an application that hangs while it is imported must not keep this process alive.
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
    # Somebody else's code, and behind it an application: a broken one may even end the process when it is imported.
    except (Exception, SystemExit) as exc:  # noqa: BLE001
        return _unknown(adapter, f"Its adapter failed: {type(exc).__name__}: {exc}")
    if not isinstance(status, HostStatus):
        return _unknown(adapter, f"Its adapter answered {status!r:.100}, which is no HostStatus.")
    return status


def _unknown(adapter: HostAdapter, problem: str) -> HostStatus:
    return HostStatus(str(adapter.name), str(adapter.title), present=False, problem=" ".join(problem.split()))
