"""The ONNX graph of a tile is valid, has its metadata, and gives torch's numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import swin2sr_ops
from swin2sr_ops.cli import main
from swin2sr_ops.export import files, onnx as export
from swin2sr_ops.geometry.span import receptive_halo
from swin2sr_ops.spec import ModelSpec, Reach
from swin2sr_ops.weights.catalogue import find
from swin2sr_ops.weights.loader import load_parameters

needs_onnx = pytest.mark.skipif(
    any(files.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")), reason="the extra `export`"
)


@needs_onnx
def test_graph(gray_model: ModelSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import onnx

    halo = receptive_halo(gray_model)
    tile, path = 2 * halo + 8, tmp_path / "m.onnx"
    words = ["export", str(gray_model.weights), "--to", "onnx", "--output", str(path), "--tile", str(tile), "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["tile"], told["halo"], told["scale"]) == (tile, halo, 2)
    assert told["difference"] < 1e-5
    model = onnx.load(path)
    assert {p.key: p.value for p in model.metadata_props}["swin2sr_ops.halo"] == str(halo)
    assert model.opset_import[0].version == export.OPSET
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
    assert main(words) == 2
    assert "exists" in capsys.readouterr().err


@needs_onnx
def test_the_network_still_computes_after_an_export(gray_model: ModelSpec, tmp_path: Path) -> None:
    """No fake tensor of the exporter stays in a cache."""
    import torch

    tile = 2 * receptive_halo(gray_model) + 8
    export.export_onnx(gray_model, tmp_path / "m.onnx", tile=tile)
    net = swin2sr_ops.load_model(gray_model)
    assert net(torch.rand(1, 1, tile, tile)).numpy().shape == (1, 1, 2 * tile, 2 * tile)


@needs_onnx
@pytest.mark.parametrize("tile", [8, 100, 20])
def test_tiles_that_do_not_fit(tile: int, tmp_path: Path) -> None:
    with pytest.raises(swin2sr_ops.RequestError, match=r"multiple of its window of 8 px, at least 88"):
        export.export_onnx("tiny-x2-gray", tmp_path / "m.onnx", tile=tile)


@needs_onnx
def test_other_networks(tmp_path: Path) -> None:
    spec = ModelSpec(name="other", architecture="other", reach=Reach(halo=1), window=1, channels=1)
    with pytest.raises(swin2sr_ops.ModelError, match="only these can be exported"):
        export.export_onnx(spec, tmp_path / "m.onnx")


def test_outputs_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(swin2sr_ops.RequestError, match=r"does not end in \.onnx"):
        export.export_onnx("tiny-x2-gray", tmp_path / "m.bin")
    with pytest.raises(swin2sr_ops.OutputError, match="no folder"):
        export.export_onnx("tiny-x2-gray", tmp_path / "no" / "m.onnx")
    monkeypatch.setattr(files, "find_spec", lambda name: None)
    with pytest.raises(swin2sr_ops.RequestError, match=r"swin2sr-ops\[export\]"):
        export.export_onnx("tiny-x2-gray", tmp_path / "m.onnx")


@needs_onnx
def test_facts_that_a_checkpoint_lacks_reach_the_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The official files state neither window nor range: both options count, whatever the format."""
    import torch

    state = {name: torch.from_numpy(values) for name, values in load_parameters(find("nano-x2-gray")).items()}
    torch.save({"params": state}, tmp_path / "nano.pth")
    words = ["export", str(tmp_path / "nano.pth"), "--to", "onnx", "--output", str(tmp_path / "m.onnx"), "--json"]
    assert main([*words, "--tile", "88"]) == 2
    assert "window=" in capsys.readouterr().err
    assert main([*words, "--tile", "88", "--window", "8", "--value-range", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["window"] == 8
