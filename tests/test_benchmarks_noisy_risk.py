"""The benchmark of the noisy risk runs, briefly; the same command measures nothing again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "noisy_risk.py"


def study(data: Path, out: Path) -> list[str]:
    words = ["--data", str(data), "--out", str(out), "--sets", "made", "--init", "tiny-x1-gray", "--steps", "1", "2"]
    command = [sys.executable, str(SCRIPT), *words, "--seeds", "1", "--runs", "sure,1e-4", "blind,2e-4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_states_are_ranked_once(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "eval" / "microscopy" / "w2s_pairs"
    folder.mkdir(parents=True)
    y, x = np.mgrid[:160, :150] / 7
    truth = ((2 + np.sin(x) + np.cos(y + x / 3)) * 60).astype("u1")
    for kind in ("gt", "noisy"):  # the made set takes the truth only
        Image.fromarray(truth).save(folder / f"0_{kind}.png")
    first = study(tmp_path / "data", tmp_path / "runs")
    measured = (tmp_path / "runs" / "rows.csv").read_text()
    assert len(measured.splitlines()) == 5
    table = [line.split(" | ") for line in first if line.startswith("| made")]
    assert [(row[1], row[2]) for row in table] == [
        (f"`{run}", n) for run in ("blind`, 2e-4", "sure`, 1e-4") for n in "12"
    ]
    assert any(line.startswith("made: rank correlation") and line.endswith(", 4 states") for line in first)
    again = study(tmp_path / "data", tmp_path / "runs")
    assert (tmp_path / "runs" / "rows.csv").read_text() == measured
    assert [line for line in again if line.startswith("|")] == [line for line in first if line.startswith("|")]
