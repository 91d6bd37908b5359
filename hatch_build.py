"""Build the kernels into a wheel for one system, where ``SWIN2SR_OPS_PREBUILT`` names it; else change nothing.

``SWIN2SR_OPS_PREBUILT=linux-x86_64 python -m build --wheel``; the other systems are in ``native/recipe.py``, and ``1``
is this one. The compiler is the package ziglang, on every machine: a wheel for Windows can be built on Linux.
"""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_NATIVE = "swin2sr_ops/engine/native"


class PrebuiltKernels(BuildHookInterface):  # type: ignore[type-arg]
    """Add libraries, and make the wheel one for a platform."""

    _folder: Path | None = None

    def dependencies(self) -> list[str]:
        return [f"ziglang=={self._recipe().ZIG}"] if _asked() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        asked = _asked()
        if not asked or version == "editable":
            return
        recipe = self._recipe()
        name = recipe.this_system() if asked == "1" else asked
        if name not in recipe.TARGETS:
            sys.exit(f"SWIN2SR_OPS_PREBUILT={asked} is none of 1, {', '.join(recipe.TARGETS)}.")
        self._folder = Path(mkdtemp())
        for path in recipe.build_for_wheel(recipe.TARGETS[name], self._folder):
            build_data["force_include"][str(path)] = f"{_NATIVE}/prebuilt/{path.name}"
        build_data["tag"] = f"py3-none-{recipe.TARGETS[name].tag}"
        build_data["pure_python"] = False

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _recipe(self) -> Any:
        """Load the recipe alone: the package needs what is not installed here."""
        spec = spec_from_file_location("recipe", Path(self.root, _NATIVE, "recipe.py"))
        assert spec is not None
        assert spec.loader is not None
        found = module_from_spec(spec)
        spec.loader.exec_module(found)
        return found


def _asked() -> str:
    return os.environ.get("SWIN2SR_OPS_PREBUILT", "").strip()
