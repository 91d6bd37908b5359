"""``benchmarks/recipes.py``: the first steps of a recipe give the stated figures; other figures are found."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import NATIVE

ROOT = Path(__file__).parents[1]
SCRIPT, PAGE = ROOT / "benchmarks" / "recipes.py", ROOT / "docs" / "recipes.md"


@pytest.fixture(scope="module")
def recipes() -> ModuleType:
    spec = spec_from_file_location("recipes", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    found = sys.modules["recipes"] = module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_the_page_states_every_recipe(recipes: ModuleType) -> None:
    names = {Path(one.name).stem for one in recipes.RECIPES.iterdir() if one.name.endswith(".toml")}
    assert set(recipes.stated(PAGE)) == names - recipes.NAMED_ONLY


def test_other_figures_are_found(recipes: ModuleType) -> None:
    row = recipes.stated(PAGE)["nano-x2-gray"]
    assert row.agrees(replace(row, loss=row.loss * 1.005, psnr=row.psnr + 0.01))
    for changes in ({"loss": row.loss * 1.02}, {"psnr": row.psnr + 0.03}, {"begins_with": "`tiny-x2-gray`"}):
        assert not row.agrees(replace(row, **changes))


@NATIVE
def test_first_steps_give_what_is_stated(shared: Path) -> None:
    words = ["noisy", "nano-x2-gray", "--data", str(shared / "data"), "--check", str(PAGE)]
    done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
