"""The benchmarks of kills and of syncs run, briefly, with a fixed seed: no kill and no power cut leaves other bytes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def table(name: str, *words: str) -> list[list[str]]:
    command = [sys.executable, str(ROOT / "benchmarks" / name), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert rows
    return rows


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
def test_kills_and_power_cuts() -> None:
    pytest.importorskip("rasterio")
    rows = table("kills.py", "--kills", "1", "--cuts", "1", "--formats", "sharded,ome-tiff,plate", "--seed", "3")
    columns: list[str] = []
    for row in rows:
        if row[0] in ("kills", "power cuts"):
            columns = row
            continue
        found = dict(zip(columns, row, strict=True))
        bad = {name: found[name] for name in ("torn under its name", "refused", "other bytes", "left something")
               if name in found}  # fmt: skip
        assert set(bad.values()) == {"0"}, (row[0], bad)


def test_the_cost_of_syncs() -> None:
    rows = table("power.py", "--pairs", "1", "--size", "128", "--fields", "2")
    assert len(rows) == 3
    assert all(re.fullmatch(r"\d+\.\d{3}", row[7]) for row in rows[1:])


def test_the_cost_of_watching_the_input() -> None:
    rows = table("input_watch.py", "--side", "128")
    assert {row[0] for row in rows[1:]} == {"identity", "stamps", "checksums"}
