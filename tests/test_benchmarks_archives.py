"""The benchmark of archives runs and prints its tables; its figures are not tested."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[1] / "benchmarks" / "archives.py"


def bench(folder: Path, *options: str) -> tuple[str, dict[str, dict[str, dict[str, float]]]]:
    figures = folder / "figures.json"
    command = [sys.executable, str(BENCHMARK), "--size", "320", "--repeats", "1", "--folder", str(folder)]
    done = subprocess.run(
        [*command, "--json", str(figures), *options], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(figures.read_text())


def tables_are_whole(markdown: str) -> bool:
    """Return True if all rows of each table have as many columns as its head."""
    blocks = [[line for line in part.splitlines() if line.startswith("|")] for part in markdown.split("\n\n")]
    return all(len({line.count("|") for line in block}) <= 1 for block in blocks)


def test_copies(tmp_path: Path) -> None:
    markdown, figures = bench(tmp_path, "--only", "copies")
    assert "| dask |" in markdown
    assert tables_are_whole(markdown)
    copies = figures["copies"]
    assert set(copies) == {"loop", "dask", "bare", "ours", "pyramid", "lazy"}
    assert all(found[key] > 0 for found in copies.values() for key in ("wall", "cpu", "peak", "wall ratio"))
    assert copies["dask"]["wall ratio"] == copies["dask"]["cpu ratio"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["figures.json"], "something was left behind"


def test_overhead_and_resume(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    markdown, figures = bench(tmp_path, "--only", "overhead,resume")
    assert tables_are_whole(markdown)
    assert figures["overhead"]["in this process"]["ms per tile"] > 0
    assert figures["overhead"]["journal"]["ms per marker"] > 0
    found = figures["resume"]["1 chunks each"]
    assert 0 < found["resumed"] == found["markers"] <= found["tiles"]


def test_tiff(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    markdown, figures = bench(tmp_path, "--only", "tiff")
    assert tables_are_whole(markdown)
    assert set(figures["tiff"]) == {"plain_tiff", "tiff", "plain_cog", "cog"}
