"""Packages of bioimage.io as models: read, measured, restored, and refused in one sentence."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import swin2sr_ops
from swin2sr_ops.cli import main
from swin2sr_ops.errors import CheckpointError, ModelError
from swin2sr_ops.hooks import dispatch as plugins
from tests.export.test_bioimageio import needs_bioimageio

#: The libraries' own: files that bioimageio.spec leaves open, TorchScript that torch deprecates.
_THEIRS = ("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::DeprecationWarning")
pytestmark = [needs_bioimageio, *(pytest.mark.filterwarnings(rule) for rule in _THEIRS)]
if "bioimageio" not in {info.name for info in plugins.loaded()}:
    pytest.skip("the package is not installed with its plugins", allow_module_level=True)

#: The network of the packages here, as code that a package can bring.
CODE = '''
from torch import nn
from torch.nn import functional as F


class Twice(nn.Module):
    """Three convolutions and pixels repeated: it sees 3 pixels far."""

    def __init__(self, width=4):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, 4, 3, padding=1), nn.PixelShuffle(2),
        )

    def forward(self, x):
        return F.interpolate(x, scale_factor=2, mode="nearest") + 0.1 * self.layers(x)
'''
_names: dict[str, Any] = {}
exec(CODE, _names)
Twice = _names["Twice"]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("SWIN2SR_OPS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(5)
    return Twice().eval()


def make(folder: Path, net: nn.Module, kind: str, **changes: Any) -> Path:
    """Write a package with ``net`` in the format ``kind``; ``changes`` replace parts of its description."""
    from bioimageio.spec import ValidationContext, save_bioimageio_package
    from bioimageio.spec.model.v0_5 import ModelDescr

    folder.mkdir(parents=True, exist_ok=True)
    size = changes.get("size", {"min": 16, "step": 4})
    given = torch.rand(1, 1, 32, 32)
    np.save(folder / "in.npy", given.numpy())
    with torch.no_grad():
        np.save(folder / "out.npy", net(given).numpy())
    (folder / "README.md").write_text("# A network\n\n## Validation\n\nnone\n", encoding="utf-8")
    (folder / "code.py").write_text(CODE, encoding="utf-8")
    channel = {"type": "channel", "channel_names": ["gray"]}
    space = {"type": "space", "concatenable": True, "size": size}
    finer = [
        {"type": "space", "id": a, "scale": 0.5, "halo": 8, "size": {"tensor_id": "image", "axis_id": a}} for a in "yx"
    ]
    description = {
        "format_version": ModelDescr.implemented_format_version, "type": "model", "name": "a network",
        "description": "doubles", "version": "1", "authors": [{"name": "we"}], "license": "MIT",
        "cite": [{"text": "us", "doi": "10.1000/1"}], "documentation": {"source": "README.md"},
        "inputs": [{
            "id": "image", "axes": [{"type": "batch"}, channel, *({"id": a, **space} for a in "yx")],
            "data": changes.get("data", {"type": "float32"}),
            "preprocessing": changes.get("before", [{"id": "scale_range", "kwargs": {"axes": ["y", "x"]}}]),
            "test_tensor": {"source": "in.npy"},
        }],
        "outputs": [{
            "id": "restored", "axes": [{"type": "batch"}, channel, *finer], "test_tensor": {"source": "out.npy"},
            "postprocessing": changes.get("after", []),
        }],
        "weights": _weights(folder, net, kind, 32 if isinstance(size, dict) else size),
    }  # fmt: skip
    with ValidationContext(root=folder, log_warnings=False, perform_io_checks=False):
        descr = ModelDescr.model_validate(description)
        return Path(save_bioimageio_package(descr, output_path=folder / "net.zip"))


def _weights(folder: Path, net: nn.Module, kind: str, side: int) -> dict[str, Any]:
    if kind == "pytorch_state_dict":
        torch.save(net.state_dict(), folder / "weights.pt")
        architecture = {"source": "code.py", "callable": "Twice", "kwargs": {"width": 4}}
        return {kind: {"source": "weights.pt", "architecture": architecture, "pytorch_version": "2.6"}}
    example = torch.rand(1, 1, side, side)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch on its own parts
        if kind == "torchscript":
            torch.jit.trace(net, example).save(str(folder / "weights.pt"))
            return {kind: {"source": "weights.pt", "pytorch_version": "2.6"}}
        program = torch.onnx.export(net, (example,), dynamo=True, input_names=["image"], verbose=False)
    (folder / "weights.onnx").write_bytes(program.model_proto.SerializeToString())
    return {kind: {"source": "weights.onnx", "opset_version": 18}}


@pytest.fixture(scope="module")
def script(net: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("script"), net, "torchscript")


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(1).random((70, 90), dtype="f4")


def whole(net: nn.Module, image: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = net(torch.from_numpy(image)[None, None])[0, 0].numpy()
    return found


# --- from a package to pixels -------------------------------------------------------------------------


def test_torchscript(script: Path, net: nn.Module, image: np.ndarray) -> None:
    """Its reach is measured: it is called approximate, and equals one pass within the stated error."""
    spec = plugins.resolve_model(script)
    assert spec == plugins.resolve_model(f"bioimageio:{script}")
    assert (spec.architecture, spec.scale, spec.channels, spec.licence) == ("bioimageio:torchscript", 2, 1, "MIT")
    assert not spec.reach.exact
    assert spec.reach.halo >= 3
    assert "Approximate: its halo was measured" in spec.advice
    found = swin2sr_ops.restore(image, model=script, range=(0, 1)).compute()
    # A network that sees 3 pixels: the measured halo of 8 misses nothing but at the padded end of the image.
    assert np.abs(found - whole(net, image))[:-16, :-16].max() < 1e-6
    tiled = swin2sr_ops.restore(image, model=script, range=(0, 1), tile=32).compute()
    np.testing.assert_array_equal(tiled, found)


def test_from_the_command_line(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", str(script)]) == 0
    assert "Approximate" in capsys.readouterr().out


def test_code_only_on_consent(
    net: nn.Module, tmp_path: Path, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state dict needs the package's Python code, which is not run unasked."""
    package = make(tmp_path, net, "pytorch_state_dict")
    with pytest.raises(ModelError, match="SWIN2SR_OPS_PACKAGE_CODE=1"):
        plugins.resolve_model(package)
    monkeypatch.setenv("SWIN2SR_OPS_PACKAGE_CODE", "1")
    spec = plugins.resolve_model(package)
    assert not spec.reach.exact  # its smallest input, 16 px, is larger than a cell at the image's end may be
    found = swin2sr_ops.restore(image, model=spec, range=(0, 1)).compute()
    assert np.abs(found - whole(net, image))[:-16, :-16].max() < 1e-6


def test_onnx_of_one_size(net: nn.Module, tmp_path: Path, image: np.ndarray) -> None:
    """Nothing can be measured: the package's halo counts, and the error is called unknown."""
    spec = plugins.resolve_model(make(tmp_path, net, "onnx", size=32))
    assert (spec.architecture, spec.reach.halo, spec.reach.cell) == ("bioimageio:onnx", 8, 16)
    assert "the error is unknown" in spec.advice
    found = swin2sr_ops.restore(image, model=spec, range=(0, 1)).compute()
    assert found.shape == (140, 180)
    assert np.abs(found - whole(net, image))[:-16, :-16].max() < 1e-5


def test_an_exported_package_is_read_back(tmp_path: Path, image: np.ndarray) -> None:
    from swin2sr_ops.export.bioimageio import export_bioimageio

    report = export_bioimageio("nano-x2-gray", tmp_path / "nano.zip", tile=88)
    spec = plugins.resolve_model(report.path)
    assert (spec.scale, spec.reach.halo, spec.window) == (2, 24, 8)
    found = swin2sr_ops.restore(image, model=spec, range=(0, 1)).compute()
    ours = swin2sr_ops.restore(image, model="nano-x2-gray", range=(0, 1)).compute()
    # The image's upper and left edge are those of the first tile; at the other edges a tile is padded.
    assert np.abs(found - ours)[:-64, :-64].max() < 1e-5


def test_a_folder(script: Path, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(script) as archive:
        archive.extractall(tmp_path / "net")
    spec = plugins.resolve_model(tmp_path / "net")
    assert spec.reach == plugins.resolve_model(script).reach
    assert swin2sr_ops.load_model(spec)(torch.rand(1, 1, 20, 20)).shape == (1, 1, 40, 40)


# --- values -------------------------------------------------------------------------------------------


def test_steps_with_constants(net: nn.Module, tmp_path: Path, image: np.ndarray) -> None:
    """8 bits without a range of their own: 0..255 go in and come out, so 0..1 here."""
    steps = {"before": [{"id": "scale_linear", "kwargs": {"gain": 1 / 255, "offset": 0.0}}],
             "after": [{"id": "scale_linear", "kwargs": {"gain": 255.0, "offset": 0.0}}]}  # fmt: skip
    package = make(tmp_path, net, "torchscript", data={"type": "uint8"}, **steps)
    found = swin2sr_ops.load_model(package)(torch.from_numpy(image)[None, None])[0, 0].numpy()
    assert np.abs(found - whole(net, image))[:-16, :-16].max() < 1e-5


def test_stored_intensities(net: nn.Module, tmp_path: Path) -> None:
    """Constants of an unknown range: said, since only a range of 0 to 1 passes intensities on unchanged."""
    steps = {"before": [{"id": "fixed_zero_mean_unit_variance", "kwargs": {"mean": 500.0, "std": 100.0}}],
             "after": [{"id": "scale_linear", "kwargs": {"gain": 100.0, "offset": 500.0}}]}  # fmt: skip
    package = make(tmp_path, net, "torchscript", **steps)
    with pytest.warns(UserWarning, match="takes stored intensities: give the range 0 to 1"):
        model = swin2sr_ops.load_model(package)
    stored = torch.rand(1, 1, 20, 24) * 300 + 400
    with torch.no_grad():
        expected = net((stored - 500) / 100) * 100 + 500
    assert torch.allclose(model(stored), expected, atol=1e-2)


def test_percentiles_are_named(net: nn.Module, tmp_path: Path) -> None:
    kwargs = {"axes": ["y", "x"], "min_percentile": 1.0, "max_percentile": 99.8}
    spec = plugins.resolve_model(make(tmp_path, net, "torchscript", before=[{"id": "scale_range", "kwargs": kwargs}]))
    assert "percentiles 1 and 99.8" in spec.advice


# --- refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"before": [{"id": "zero_mean_unit_variance", "kwargs": {}}]}, "depends on the mean of the image"),
        ({"after": [{"id": "softmax", "kwargs": {"axis": "channel"}}]}, "depends on other channels"),
    ],
    ids=["mean", "softmax"],
)
def test_packages_that_do_not_fit(net: nn.Module, tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        plugins.resolve_model(make(tmp_path, net, "torchscript", **changes))


def test_files_that_are_no_package(tmp_path: Path, script: Path) -> None:
    import zipfile

    (tmp_path / "cut.zip").write_bytes(script.read_bytes()[:500])
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    for name in ("cut.zip", "empty.zip"):
        with pytest.raises(ModelError, match=r"cannot be read as a bioimage|not a valid bioimage\.io package"):
            plugins.resolve_model(tmp_path / name)
    with pytest.raises(ModelError, match="There is no"):
        plugins.resolve_model(f"bioimageio:{tmp_path / 'none.zip'}")
    with pytest.raises(ModelError, match="omit value_range=255"):
        plugins.resolve_model(script, value_range=255)


def test_another_package_under_the_name(net: nn.Module, tmp_path: Path) -> None:
    """A model that was described is not silently another one."""
    package = make(tmp_path / "a", net, "torchscript")
    spec = plugins.resolve_model(package)
    torch.manual_seed(9)
    package.write_bytes(make(tmp_path / "b", Twice().eval(), "torchscript").read_bytes())
    with pytest.raises(CheckpointError, match="is not the package that was described"):
        plugins.build_network(spec)


def test_measured_once(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from swin2sr_ops_bioimageio import describe

    spec = plugins.resolve_model(script)
    monkeypatch.setattr(describe, "_examine", lambda package: pytest.fail("examined again"))
    assert plugins.resolve_model(script) == spec
