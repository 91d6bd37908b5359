"""Check the wheel, the page on a package index, and the source archive."""

from __future__ import annotations

import email
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

import swin2sr_ops

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
#: Kept by a build, and no part of a source archive.
LEFT_OUT = (".git", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".venv", "dist")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source archive, and the wheel that is built from it."""
    for tool in ("hatchling", "hatch_fancy_pypi_readme"):
        pytest.importorskip(tool, reason="the extra `release` builds")
    place = tmp_path_factory.mktemp("dist")
    code = "import sys; from hatchling import build; print(getattr(build, 'build_' + sys.argv[1])(sys.argv[2]))"
    name = _run(code, "sdist", str(place), cwd=ROOT)
    with tarfile.open(place / name) as archive:
        archive.extractall(place / "source", filter="data")
    (source,) = (place / "source").iterdir()
    return source, place / _run(code, "wheel", str(place), cwd=source)


def _run(code: str, *words: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=cwd, capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]


def files_of_the_project() -> set[str]:
    """List the files that git tracks; in an archive without git, all files."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0 and done.stdout:
        return {name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()}
    found = (p.relative_to(ROOT) for p in ROOT.rglob("*") if p.is_file())
    return {p.as_posix() for p in found if not set(p.parts) & set(LEFT_OUT) and p.name != "PKG-INFO"}


def test_the_version_has_one_place() -> None:
    assert "version" in PROJECT["project"]["dynamic"]
    assert "version" not in PROJECT["project"]
    assert PROJECT["tool"]["hatch"]["version"] == {"path": "swin2sr_ops/__init__.py"}
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+|\.dev\d+)?", swin2sr_ops.__version__)


def test_the_archive_is_complete(built: tuple[Path, Path]) -> None:
    source, _ = built
    held = {p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()}
    assert held - {"PKG-INFO"} == files_of_the_project()


def test_the_wheel_holds_the_packages_and_nothing_else(built: tuple[Path, Path]) -> None:
    source, wheel = built
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    roots = [source, source / "plugins", source / "napari_plugin"]
    expected = {
        p.relative_to(root).as_posix() for root in roots for p in root.glob("swin2sr_ops*/**/*") if p.is_file()
    }  # fmt: skip
    assert held == expected


def test_the_index_page_stands_alone(built: tuple[Path, Path]) -> None:
    """Version, and a description whose links and pictures lead to absolute addresses."""
    with zipfile.ZipFile(built[1]) as wheel:
        (name,) = (n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(wheel.read(name))
    assert metadata["Version"] == swin2sr_ops.__version__
    text = metadata.get_payload()
    assert isinstance(text, str)
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert [t for t in targets if not t.startswith("https://")] == []
    assert any(t.endswith(".png") for t in targets)


def test_the_conda_recipe_is_filled_from_the_archive(built: tuple[Path, Path]) -> None:
    """RELEASING.md's command, in the unpacked archive."""
    source, wheel = built
    (archive,) = wheel.parent.glob("*.tar.gz")
    recipe = source / "installers" / "conda" / "recipe.yaml"
    before = recipe.read_text(encoding="utf-8")
    release = archive.with_name(re.sub(r"\.dev\d+", "", archive.name))
    if release != archive:
        shutil.copyfile(archive, release)
    command = [sys.executable, "installers/conda/fill.py", str(release)]
    subprocess.run(command, cwd=source, check=True)

    after = recipe.read_text(encoding="utf-8")
    assert f'sha256: "{hashlib.sha256(archive.read_bytes()).hexdigest()}"' in after
    assert f'version: "{release.name.removeprefix("swin2sr_ops-").removesuffix(".tar.gz")}"' in after
    changed = [line for line in after.splitlines() if line not in before.splitlines()]
    assert len(changed) <= 2
    done = subprocess.run([*command[:2], str(wheel)], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "is not the source archive of a release" in done.stderr
    assert recipe.read_text(encoding="utf-8") == after


def test_every_address_of_ours_is_one_of_two() -> None:
    """Until the project has an address, all placeholders can be replaced at once (RELEASING.md)."""
    urls = PROJECT["project"]["urls"]
    known = (urls["Homepage"], urls["Source"])
    for name in files_of_the_project():
        if Path(name).suffix in {".py", ".md", ".toml", ".yml", ".yaml", ".cff", ".json", ".txt"}:
            text = (ROOT / name).read_text(encoding="utf-8")
            for address in re.findall(r"https://[\w.-]*example\.org[\w/.-]*", text):
                assert name.startswith("tests/") or address.startswith(known), f"{name} names {address}"
