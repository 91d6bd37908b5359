"""``swin2sr-ops info`` of an archive."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swin2sr_ops.cli import main
from tests.test_archive import write_plate


def test_a_plate_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_plate(tmp_path / "plate.zarr", "0.5")
    assert main(["info", str(tmp_path / "plate.zarr")]) == 0
    assert "A/1/0, A/1/1, B/02/0" in capsys.readouterr().out
    assert main(["info", str(tmp_path / "plate.zarr"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["kind"], told["format"], told["images"], told["missing"]) == ("plate", "OME-Zarr 0.5", 3, {})
    assert main(["info", str(tmp_path / "plate.zarr"), "--array", "A/1/0"]) == 0
    assert "micrometer" in capsys.readouterr().out
