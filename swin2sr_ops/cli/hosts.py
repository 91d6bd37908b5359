"""Run ``swin2sr-ops hosts``."""

from __future__ import annotations

import argparse
import json
import warnings

from swin2sr_ops.errors import RequestError
from swin2sr_ops.hooks.dispatch import hosts
from swin2sr_ops.hooks.hosts import HostStatus, statuses

__all__ = ["main"]


def main(args: argparse.Namespace) -> int:
    """Print the state of each application, or register the operator in one."""
    if args.action == "install":
        return _install(args.name)
    if args.name is not None:
        raise RequestError(f"`hosts` takes a name only with install: `hosts install {args.name}`.")
    found = _ask(args.timeout)
    if args.json:
        print(json.dumps([status.to_dict() for status in found]))
        return 0
    print(f"{'name':<12}{'state':<9}{'version':<12}about")
    for status in found:
        print(f"{status.name:<11} {status.state:<8} {status.version or '-':<11} {status.title}: {_sentence(status)}")
    if not found:
        print("No plugin adds the operator to an application.")
    return 0


def _ask(timeout: float) -> list[HostStatus]:
    with warnings.catch_warnings():
        # Warnings that applications and their plugins raise on import do not concern this package's users.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        return statuses(hosts(), timeout)


def _sentence(status: HostStatus) -> str:
    return (
        status.problem
        or status.detail
        or {
            "working": "It lists the operator.",
            "broken": "It lists the operator but cannot load it.",
            "present": "It is installed but does not list the operator.",
            "absent": "It is not installed.",
        }.get(status.state, "")
    )


def _install(name: str | None) -> int:
    adapters = {adapter.name: adapter for adapter in hosts()}
    known = ", ".join(adapters) or "none"
    if name is None:
        raise RequestError(f"`hosts install` needs a name: give one of {known}.")
    if name not in adapters:
        raise RequestError(f"There is no host called {name!r}: give one of {known}.")
    print(adapters[name].install())
    return 0
