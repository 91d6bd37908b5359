"""Validate the ``[volume]`` of a recipe as data: its quantities and their limits; without torch."""

from __future__ import annotations

from typing import Any

from swin2sr_ops.training.degrade_table import interval_problems

__all__ = ["volume_problems"]

#: Limits of each quantity. A patch has a margin as wide as its farthest plane moves.
_LIMITS = {"shift": (0.0, 4.0), "blur": (0.0, 2.0)}


def volume_problems(table: Any) -> list[str]:
    """List the problems of a recipe's ``[volume]``, one clause each."""
    if not isinstance(table, dict):
        return [f"volume={table!r} must be a table of quantities"]
    if not set(table) <= set(_LIMITS):
        return [f"[volume] has no quantity {min(set(table) - set(_LIMITS))!r}, only {', '.join(_LIMITS)}"]
    return [p for name, ends in table.items() for p in interval_problems(f"[volume] {name}", ends, *_LIMITS[name])]
