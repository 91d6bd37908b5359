"""Validate the ``[volume]`` of a recipe as data: its quantities and their limits; without torch."""

from __future__ import annotations

from typing import Any

from swin2sr_ops.training.degrade_table import interval_problems, is_number

__all__ = ["volume_problems"]

#: Limits of each quantity. A patch has a margin as wide as its farthest plane moves.
_LIMITS = {"shift": (0.0, 4.0), "blur": (0.0, 2.0)}
#: Shares of the patches.
_SHARES = ("other", "fade")


def volume_problems(table: Any) -> list[str]:
    """List the problems of a recipe's ``[volume]``, one clause each."""
    if not isinstance(table, dict):
        return [f"volume={table!r} must be a table of quantities"]
    known = [*_LIMITS, *_SHARES]
    if not set(table) <= set(known):
        return [f"[volume] has no quantity {min(set(table) - set(known))!r}, only {', '.join(known)}"]
    shares = {name: table[name] for name in _SHARES if name in table}
    problems = [
        f"[volume] {name}={share!r} must be a number from 0 to 1"
        for name, share in shares.items()
        if not is_number(share) or not 0 <= share <= 1
    ]
    if not problems and sum(shares.values()) > 1:
        problems.append(f"[volume] {' and '.join(f'{k}={v!r}' for k, v in shares.items())} must together be at most 1")
    intervals = {name: ends for name, ends in table.items() if name in _LIMITS}
    return problems + [
        p for k, ends in intervals.items() for p in interval_problems(f"[volume] {k}", ends, *_LIMITS[k])
    ]
