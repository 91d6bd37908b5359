"""Validate the ``[camera]`` of a recipe as data: its quantities and their limits; without torch."""

from __future__ import annotations

from typing import Any

from swin2sr_ops.training.degrade_table import interval_problems, is_number

__all__ = ["QUANTITIES", "camera_problems"]

#: What a recipe states as one share of the patches.
_SHARES = ("share", "em")

#: Limits of each quantity; see `camera` for what they mean. A quantity that a recipe does not name has no effect.
QUANTITIES = {
    "psf": (0.0, 4.0),
    "photons": (0.1, 1e6),
    "background": (0.0, 100.0),
    "read": (0.0, 1000.0),
    "rows": (0.0, 10.0),
    "hot": (0.0, 0.1),
    "offset": (0.0, 1e5),
    "gain": (1e-3, 1e3),
}


def camera_problems(table: Any, scale: int) -> list[str]:
    """List the problems of a recipe's ``[camera]``, one clause each."""
    if not isinstance(table, dict):
        return [f"camera={table!r} must be a table of quantities"]
    if not table:
        return []
    if scale != 1:
        return [f"[camera] is for models that keep the size of an image, and the scale of this one is {scale}"]
    problems = []
    if "photons" not in table:
        problems.append("[camera] lacks photons = [1, 1000], the number at the brightest pixel of a patch")
    for name, value in table.items():
        if name in _SHARES:
            if not is_number(value) or not 0 <= value <= 1:
                problems.append(f"[camera] {name}={value!r} must lie between 0 and 1")
        elif name not in QUANTITIES:
            problems.append(f"[camera] has no quantity {name!r}, only {', '.join((*_SHARES, *QUANTITIES))}")
        else:
            problems += interval_problems(f"[camera] {name}", value, *QUANTITIES[name])
    return problems
