"""The catalogue: complete, consistent, light, and helpful about names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from swin2sr_ops.errors import CheckpointError, ModelError
from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.weights import catalogue
from swin2sr_ops.weights.save import save_model
from tests.weights.helpers import TINY, TINY_IR, random_network

#: Parameters of the official networks (shared/reference/official.md, section 1).
PARAMETERS = {
    "swin2sr-classical-x2": 12_091_571,
    "swin2sr-classical-x4": 12_239_283,
    "swin2sr-lightweight-x2": 1_005_348,
    "swin2sr-compressed-x4": 12_244_598,
    "swin2sr-real-x4": 12_054_643,
    "swin2sr-jpeg": 11_836_765,
    "swinir-classical-div2k-x2": 11_752_487,
    "swinir-classical-df2k-x3": 11_937_127,
    "swinir-classical-df2k-x4": 11_900_199,
    "swinir-classical-df2k-x8": 12_047_911,
    "swinir-lightweight-x2": 910_152,
    "swinir-lightweight-x3": 918_267,
    "swinir-lightweight-x4": 929_628,
    "swinir-real-x2-gan": 11_678_631,
    "swinir-real-x4-psnr": 11_715_559,
    "swinir-real-large-x4-gan": 28_013_059,
    "swinir-denoise-gray-15": 11_497_681,
    "swinir-denoise-color-50": 11_504_163,
    "swinir-jpeg-gray-10": 11_485_585,
    "swinir-jpeg-color-40": 11_492_067,
}


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_rows_are_the_official_networks(name: str, count: int) -> None:
    with torch.device("meta"):
        net = SwinNet(catalogue.find(name))
    assert sum(parameter.numel() for parameter in net.parameters()) == count


@pytest.mark.parametrize("spec", catalogue.BUILTIN.values(), ids=lambda spec: spec.name)
def test_rows_are_complete(spec: ModelSpec) -> None:
    assert spec.licence == "Apache-2.0"
    assert spec.weights.startswith("https://github.com/")
    assert spec.weights.endswith(".pth")
    assert spec.advice
    assert "{" not in spec.advice
    assert len(spec.sha256) in (0, 64)
    assert bool(spec.sha256) == bool(spec.size_bytes)
    # The file's own name agrees with what the row says.
    family = "Swin2SR" if spec.architecture == "swin2sr" else "SwinIR"
    assert family in spec.weights
    assert spec.scale == 1 or f"x{spec.scale}" in spec.weights.lower()
    assert ("w7" in spec.weights or "Jpeg" in spec.weights) == (spec.window == 7) == (spec.value_range == 255)


def test_all_released_files_are_there_once() -> None:
    families = [spec.architecture for spec in catalogue.BUILTIN.values()]
    assert families.count("swin2sr") == 6
    assert families.count("swinir") == 31
    assert len({spec.weights for spec in catalogue.BUILTIN.values()}) == 37
    assert list(catalogue.BUILTIN) == [spec.name for spec in catalogue.BUILTIN.values()]


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("swin2sr-clasical-x2", "swin2sr-classical-x2"), ("SwinIR-Real-x4-GAN", "swinir-real-x4-gan")],
)
def test_unknown_names_suggest_near_ones(wrong: str, meant: str) -> None:
    with pytest.raises(ModelError, match="swin2sr-ops models") as info:
        catalogue.find(wrong)
    assert meant in str(info.value)


def test_nonsense_suggests_nothing() -> None:
    with pytest.raises(ModelError, match=r"called 'zzzz'\. `swin2sr-ops models` lists all"):
        catalogue.find("zzzz")


def test_shipped_models_come_first_and_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "MODELS_FOLDER", tmp_path)
    for spec in (TINY_IR, TINY):
        save_model(tmp_path / f"{spec.name}.safetensors", random_network(spec), spec)
    names = [spec.name for spec in catalogue.all_models()]
    assert names[:2] == ["tiny", "tiny-ir"]
    assert names[2:] == list(catalogue.BUILTIN)
    found = catalogue.find("tiny")
    assert found.weights == "package:tiny.safetensors"
    assert found.size_bytes == (tmp_path / "tiny.safetensors").stat().st_size


def test_a_shipped_file_without_description_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import save_file

    monkeypatch.setattr(catalogue, "MODELS_FOLDER", tmp_path)
    save_file({"a": torch.zeros(2)}, tmp_path / "bare.safetensors")
    with pytest.raises(CheckpointError, match="bare"):
        catalogue.shipped()


def test_listing_is_light() -> None:
    code = (
        "import sys; from swin2sr_ops.weights import catalogue; from swin2sr_ops.weights import loader;"
        "catalogue.all_models(); loader.resolve_spec('swin2sr-jpeg');"
        "heavy = {'torch', 'numpy', 'dask', 'zarr', 'safetensors', 'pooch', 'requests'} & set(sys.modules);"
        "sys.exit(', '.join(heavy) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"listing models imports {result.stderr}"
