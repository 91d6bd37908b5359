"""Tasks of Fractal: executables with typed parameters, listed in ``__FRACTAL_MANIFEST__.json``.

They stand here because a Fractal server looks for them in the package that has the distribution's
name. What they do is in ``swin2sr_ops_fractal``.
"""

from __future__ import annotations

from importlib.util import find_spec

__all__ = ["check_host"]


def check_host() -> None:
    """Say what is missing where Fractal's tools are.

    Raises
    ------
    ImportError
        The tools, or pydantic, are not installed.
    """
    missing = [name for name in ("fractal_task_tools", "pydantic") if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"Fractal's tasks need {' and '.join(missing)}, not installed here: `pip install 'swin2sr-ops[fractal]'`"
            " brings what is missing."
        )
