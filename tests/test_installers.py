"""The recipes under ``installers`` say what pyproject.toml says, and linters accept them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import swin2sr_ops

ROOT = Path(__file__).parents[1]
CONTAINERS = ROOT / "installers" / "containers"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DOCKERFILES = sorted(CONTAINERS.glob("*.Dockerfile"))
#: Names in conda that differ from those on PyPI.
CONDA = {"dask[array]": "dask-core", "torch": "pytorch"}


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="reads the recipe")
    found: dict[str, Any] = yaml.safe_load((ROOT / "installers/conda/recipe.yaml").read_text(encoding="utf-8"))
    return found


def test_conda_needs_what_the_package_needs(recipe: dict[str, Any]) -> None:
    expected = set()
    for line in PROJECT["dependencies"]:
        name, bounds = re.fullmatch(r"([\w.\[\]-]+)(.*)", line).groups()  # type: ignore[union-attr]
        expected.add(f"{CONDA.get(name, name)} {bounds}")
    run = set(recipe["requirements"]["run"])
    assert run - expected == {"python >=${{ python_min }}"}
    assert expected <= run
    assert PROJECT["requires-python"] == f">={recipe['context']['python_min']}"


def test_conda_is_of_this_version(recipe: dict[str, Any]) -> None:
    """The next release of a version under development."""
    assert recipe["context"]["version"] == re.sub(r"\.dev\d+$", "", swin2sr_ops.__version__)
    (script,) = recipe["build"]["python"]["entry_points"]
    assert script == f"swin2sr-ops = {PROJECT['scripts']['swin2sr-ops']}"


def test_conda_has_the_format(recipe: dict[str, Any]) -> None:
    assert recipe["build"]["noarch"] == "python"
    assert recipe["about"]["license"] == PROJECT["license"]
    for name in recipe["about"]["license_file"]:
        assert (ROOT / name).is_file()


def test_rattler_build_renders_the_recipe() -> None:
    """Its parser refuses unknown keys, wrong types and requirements that conda does not understand."""
    rattler_build = pytest.importorskip("rattler_build", reason="the extra `release` has rattler-build's parser")
    text = (ROOT / "installers/conda/recipe.yaml").read_text(encoding="utf-8")
    (variant,) = rattler_build.Stage0Recipe.from_yaml(text).render()
    assert variant.recipe.package.name == "swin2sr-ops"
    for wrong in (text.replace("noarch: python", "noarch: pithon"), text.replace("\nabout:", "\nabuot:")):
        with pytest.raises(rattler_build.RattlerBuildError):
            rattler_build.Stage0Recipe.from_yaml(wrong).render()


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images(path: Path) -> None:
    """No process is root in them, and only the image for GPUs has torch."""
    text = path.read_text(encoding="utf-8")
    assert re.search(r"^USER 1000$", text, re.MULTILINE)
    last = text.rpartition("\nFROM ")[2]
    assert "COPY" not in last  # only installed files
    assert ("install.sh cpu" in last) == (path.name == "cpu.Dockerfile")
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, "--no-color", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_apptainer_shares_no_cache() -> None:
    """Apptainer mounts the host's /tmp, which all users share, and the user's home: the usual cache folder is right."""
    text = (CONTAINERS / "apptainer.def").read_text(encoding="utf-8")
    assert "SWIN2SR_OPS_CACHE" not in text
    assert "%environment" not in text


def test_the_list_of_a_container_has_no_torch(tmp_path: Path) -> None:
    """The step that both images share, without the building: its list is that of pyproject.toml."""
    text = (CONTAINERS / "install.sh").read_text(encoding="utf-8")
    code = text.partition("<< 'LIST'\n")[2].partition("LIST\n")[0]
    extras = re.search(r'^extras="(.*)"$', text, re.MULTILINE)
    assert extras is not None
    assert set(extras[1].split()) <= PROJECT["optional-dependencies"].keys()
    words = ["-c", code, *extras[1].split()]

    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=True)
    names = [re.split(r"[>\[]", line)[0] for line in done.stdout.split()]
    assert "torch" not in names
    assert {"zarr", "rasterio", "starlette"} <= set(names)


def test_the_shell_script(tmp_path: Path) -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([shellcheck, str(CONTAINERS / "install.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
