"""Fingerprints that earlier versions computed stay as they are, and equal outputs have equal ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from swin2sr_ops.pixels.intervals import Calibration, read_calibration
from swin2sr_ops.run import fingerprint
from swin2sr_ops.run.fingerprint import run_key
from swin2sr_ops.run.job import Job

_MADE = Calibration(
    "a", "0" * 64, 1, None, (0.5, 1.0), 0.01, {"80": 1.0, "90": 1.5}, patches=40, pixels=1000, data="pairs", degrade="x"
)


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Job:
    """Stand for a job whose own settings are the same on every machine."""
    monkeypatch.setattr(fingerprint, "settings_of", lambda job: {"source": {"image": "fixed"}, "scale": 2})
    return None  # type: ignore[return-value]


def test_outputs_with_intervals_of_earlier_versions_are_resumed(job: Job, tmp_path: Path) -> None:
    _MADE.write(tmp_path / "cal.json")
    key = run_key(job, {"interval": 90, "calibration": tmp_path / "cal.json"})
    assert (
        key.fingerprint == "8dc55eaaaafe1ba676390b50ef2357d5f802eda769e80b20ed534334717b7358"
    )  # by the version before ``fitted_truth``


def test_a_calibration_of_fitted_truths_is_another_run(job: Job, tmp_path: Path) -> None:
    fitted = replace(_MADE, fitted_truth=True)
    keys = set()
    for name, one in (("plain", _MADE), ("fitted", fitted)):
        one.write(tmp_path / name)
        assert read_calibration(tmp_path / name) == one
        keys.add(run_key(job, {"interval": 90, "calibration": tmp_path / name}).fingerprint)
    assert len(keys) == 2


@pytest.mark.parametrize(
    "creation",
    [
        None, [], {}, ["COMPRESS=DEFLATE"], {"compress": "deflate", "BLOCKSIZE": 512}, ["LEVEL=6"], ["LEVEL=06"],
        "blocksize=0512",
    ],
)  # fmt: skip
def test_default_creation_options_are_no_other_run(job: Job, creation: Any) -> None:
    key = run_key(job, {"creation": creation})
    assert key.fingerprint == "99d8973b5b4c68128a8e6eb52434f24b6071b5aca2613f26ff9dfa787e6e1aa4"  # as without any


@pytest.mark.parametrize(
    ("creation", "kept"),
    [
        (["COMPRESS=LZW"], {"COMPRESS": "LZW"}),
        ({"compress": "zstd", "level": 9}, {"COMPRESS": "ZSTD"}),
        (["LEVEL=09", "BLOCKSIZE=256"], {"LEVEL": "9", "BLOCKSIZE": "256"}),
        (["INTERLEAVE=BAND"], {"INTERLEAVE": "BAND"}),  # of a plugin's format
    ],
)
def test_creation_options_that_change_the_bytes_are_another_run(job: Job, creation: Any, kept: dict[str, str]) -> None:
    assert run_key(job, {"creation": creation}).settings["output creation"] == kept
