"""Run ``swin2sr-ops hosts``."""

from __future__ import annotations

import argparse
import json
import warnings

from swin2sr_ops.errors import RequestError
from swin2sr_ops.hooks.dispatch import hosts
from swin2sr_ops.hooks.hosts import HostAdapter, HostStatus, statuses

__all__ = ["main"]

#: States that say that something is wrong; an application may be absent, or wait for `hosts install`.
_FAULTS = ("broken", "unknown")


def main(args: argparse.Namespace) -> int:
    """Print the state of each application, or register the operator in one."""
    if args.action == "install":
        return _install(args.name, args.json)
    if args.action is None and args.name is not None:
        raise RequestError(f"`hosts` takes a name only with check or install: `hosts check {args.name}`.")
    asked = None if args.action is None else _named(args.name, args.action).name
    found = _ask(args.timeout, asked)
    failed = any(status.state != "working" if asked else status.state in _FAULTS for status in found)
    if args.json:
        print(json.dumps([status.to_dict() for status in found]))
        return int(failed)
    print(f"{'name':<12}{'state':<9}{'version':<12}about")
    for status in found:
        print(f"{status.name:<11} {status.state:<8} {status.version or '-':<11} {status.title}: {_sentence(status)}")
    if not found:
        print("No plugin adds the operator to an application.")
    return int(failed)


def _ask(timeout: float, name: str | None) -> list[HostStatus]:
    with warnings.catch_warnings():
        # Warnings that applications and their plugins raise on import do not concern this package's users.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        return statuses([adapter for adapter in hosts() if name in (None, adapter.name)], timeout)


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


def _install(name: str | None, as_json: bool) -> int:
    adapter = _named(name, "install")
    done = adapter.install()
    print(json.dumps({"name": adapter.name, "done": done}) if as_json else done)
    return 0


def _named(name: str | None, action: str) -> HostAdapter:
    """Return the adapter of an application; raise an error that lists the names."""
    adapters = {adapter.name: adapter for adapter in hosts()}
    known = ", ".join(adapters) or "none"
    if name is None:
        raise RequestError(f"`hosts {action}` needs a name: give one of {known}.")
    if name not in adapters:
        raise RequestError(f"There is no host called {name!r}: give one of {known}.")
    return adapters[name]
