"""Validate the ``[degrade]`` of a recipe as data: its steps and their strengths; without torch."""

from __future__ import annotations

from typing import Any

__all__ = ["STRENGTHS", "degrade_problems", "interval_problems", "is_number"]

_LARGEST = 1e30

#: Name of each step's strength, and its limits.
STRENGTHS = {
    "blur": ("sigma", 0.0, 8.0),
    "bicubic": ("", 0.0, 0.0),
    "poisson": ("photons", 0.1, 1e6),
    "noise": ("sigma", 0.0, 255.0),
    "jpeg": ("quality", 1.0, 100.0),
    "quantise": ("bits", 2.0, 16.0),
}


def degrade_problems(table: Any) -> list[str]:
    """List the problems of a recipe's ``[degrade]``, one clause each."""
    if not isinstance(table, dict):
        return [f"degrade={table!r} must be a table of steps"]
    problems = []
    for name, values in table.items():
        if name == "coarse":
            problems += _coarse_problems(values)
        elif name == "shuffle":
            if not isinstance(values, bool):
                problems.append(f"[degrade] shuffle={values!r} must be true or false")
        elif name not in STRENGTHS:
            problems.append(f"[degrade] has no step {name!r}, only {', '.join(STRENGTHS)}, coarse and shuffle")
        else:
            problems += _step_problems(name, values)
    return problems


def _coarse_problems(values: Any) -> list[str]:
    if not isinstance(values, dict) or set(values) != {"bands", "ratio"}:
        return [f"[degrade.coarse] = {values!r} must be a table such as {{ bands = [3, 4], ratio = 2 }}"]
    problems, bands, ratio = [], values["bands"], values["ratio"]
    if not isinstance(bands, list) or not bands or not all(type(b) is int and b >= 0 for b in bands):
        problems.append(f"[degrade.coarse] bands={bands!r} must be a list of positions; the first band has 0")
    if type(ratio) is not int or not 2 <= ratio <= 8:
        problems.append(f"[degrade.coarse] ratio={ratio!r} must be a whole number from 2 to 8")
    return problems


def _step_problems(name: str, values: Any) -> list[str]:
    strength, least, most = STRENGTHS[name]
    known = [strength, "share"] if strength else ["share"]
    if not isinstance(values, dict) or not set(values) <= set(known) or (strength and strength not in values):
        example = f"{strength} = [{least:g}, {most:g}]" if strength else "share = 1.0"
        return [f"[degrade.{name}] = {values!r} must be a table such as {{ {example} }}"]
    problems = []
    share = values.get("share", 1.0)
    if not is_number(share) or not 0 <= share <= 1:
        problems.append(f"[degrade.{name}] share={share!r} must lie between 0 and 1")
    if name == "bicubic" and share != 1:
        problems.append("[degrade.bicubic] cannot have a share: all inputs of a model must have the same size")
    ends = values.get(strength, [0.0, 0.0])
    if strength:
        problems += interval_problems(f"[degrade.{name}] {strength}", ends, least, most)
    return problems


def is_number(value: Any) -> bool:
    """Return True for a number that can be computed with in float32: finite, not too large, and no truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _LARGEST


def interval_problems(name: str, ends: Any, least: float, most: float) -> list[str]:
    """Return a clause if ``ends`` are not two ascending numbers within the limits."""
    numbers = isinstance(ends, (list, tuple)) and len(ends) == 2 and all(is_number(e) for e in ends)
    if numbers and least <= ends[0] <= ends[1] <= most:
        return []
    return [f"{name}={ends!r} must be two ascending numbers in {least:g}..{most:g}"]
