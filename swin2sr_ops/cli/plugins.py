"""Run ``swin2sr-ops plugins``."""

from __future__ import annotations

import argparse
import json

from swin2sr_ops.hooks.dispatch import loaded
from swin2sr_ops.hooks.manager import PluginInfo

__all__ = ["main"]


def main(args: argparse.Namespace) -> int:
    """List the plugins and their states; return 1 if one is broken."""
    found = loaded()
    broken = any(info.status == "broken" for info in found)
    if args.json:
        print(json.dumps([info.to_dict() for info in found]))
        return int(broken)
    print(f"{'name':<14}{'status':<9}{'version':<14}{'from':<26}hooks")
    for info in found:
        print(f"{info.name:<13} {info.status:<8} {info.version or '?':<13} {_origin(info):<25} {', '.join(info.hooks)}")
        for sentence in (info.reason, info.advice):
            if sentence:
                print(f"{'':<14}{' '.join(sentence.split())}")
    return int(broken)


def _origin(info: PluginInfo) -> str:
    return info.distribution or info.value
