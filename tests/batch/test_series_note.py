"""One output of a TIFF with several images: a note says that only the first is restored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from swin2sr_ops.cli import main
from tests.conftest import write_model


def test_a_note_names_the_restored_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path / "model.safetensors", dim=4, depths=(1,), heads=(1,))
    with tifffile.TiffWriter(tmp_path / "two.ome.tif", ome=True) as tiff:
        for shape in ((40, 50), (30, 20)):
            tiff.write(np.ones(shape, "u2"), metadata={"axes": "YX"})
    command = ["restore", str(tmp_path / "two.ome.tif"), str(tmp_path / "o.zarr"), "--range", "0,9"]
    assert main([*command, "--model", str(tmp_path / "model.safetensors")]) == 0
    assert "contains 2 images; the first is used" in capsys.readouterr().err
