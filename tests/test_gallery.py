"""The scripts of the gallery run as they stand, and print what they promise."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

GALLERY = Path(__file__).parents[1] / "docs" / "gallery"
NEEDS = {
    "cog": ("rasterio",), "xarray_cube": ("xarray", "rioxarray"), "napari_layer": ("napari",),
    "cluster": ("distributed",),
}  # fmt: skip
#: Each subject that the gallery must show, and its script.
SUBJECTS = {
    *("dask_array", "zarr_archive", "plate", "cog", "xarray_cube", "napari_layer", "cluster", "training", "evidence"),
    "serve",
}


def test_every_subject_has_a_script() -> None:
    assert {path.stem for path in GALLERY.glob("*.py")} == SUBJECTS
    listed = re.findall(r"gallery/(\w+)\.md", (GALLERY.parents[1] / "mkdocs.yml").read_text(encoding="utf-8"))
    assert set(listed) == SUBJECTS | {"index"}


@pytest.mark.parametrize("name", sorted(SUBJECTS))
def test_script(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What a comment behind ``print(...)`` promises is printed, in that order."""
    for module in NEEDS.get(name, ()):
        pytest.importorskip(module, reason=f"{name}.py uses it")
    monkeypatch.chdir(tmp_path)
    path = GALLERY / f"{name}.py"
    text = path.read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, str(path), "exec"), names)
    printed = iter(capsys.readouterr().out.splitlines())
    promised = re.findall(r"^\s*print\(.*\)  # (.*)$", text, re.MULTILINE)
    assert promised
    for line in promised:
        assert any(found == line for found in printed), f"{name}.py: {line!r} is not printed"
