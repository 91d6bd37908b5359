"""Checkpoints of other architectures, saved by their own classes, are read by spandrel and used for restoration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers, lists, sampled_from, tuples
from torch import nn

import swin2sr_ops
from swin2sr_ops.cli import main
from swin2sr_ops.engine.reach_proven import Sight, proven_sight
from swin2sr_ops.engine.restorer import Restorer
from swin2sr_ops.errors import CheckpointError, ModelError
from swin2sr_ops.geometry.plan import TilePlan
from swin2sr_ops.hooks import dispatch as plugins
from swin2sr_ops.placement import Placement
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.weights.digest import file_sha256
from tests.conftest import random_net, small_spec
from tests.nets.reference import _mend_torchvision

_mend_torchvision()
spandrel = pytest.importorskip("spandrel", exc_type=ImportError)
if "spandrel" not in {info.name for info in plugins.loaded()}:
    pytest.skip("the package is not installed with its plugins", allow_module_level=True)

from spandrel.architectures.Compact import Compact  # noqa: E402
from spandrel.architectures.DnCNN import DnCNN  # noqa: E402
from spandrel.architectures.ESRGAN import ESRGAN  # noqa: E402
from spandrel.architectures.SCUNet import SCUNet  # noqa: E402
from spandrel.architectures.SPAN import SPAN  # noqa: E402
from swin2sr_ops_spandrel import describe as describing  # noqa: E402
from swin2sr_ops_spandrel.family import swin2sr_ops_build_network  # noqa: E402

#: Small networks of real architectures: constructor, scale, channels, True if their reach can be proven.
NETWORKS: dict[str, tuple[Any, int, int, bool]] = {
    "esrgan": (lambda: ESRGAN(in_nc=3, out_nc=3, num_filters=8, num_blocks=2, scale=2), 2, 3, True),
    "esrgan-gray": (lambda: ESRGAN(in_nc=1, out_nc=1, num_filters=8, num_blocks=2, scale=4), 4, 1, True),
    "compact": (lambda: Compact(num_in_ch=3, num_out_ch=3, num_feat=8, num_conv=3, upscale=3), 3, 3, True),
    "dncnn": (lambda: DnCNN(in_nc=1, out_nc=1, nc=8, nb=9, act_mode="R"), 1, 1, True),
    "dncnn-norm": (lambda: DnCNN(in_nc=3, out_nc=3, nc=8, nb=5, act_mode="BR"), 1, 3, True),
    "span": (lambda: SPAN(num_in_ch=3, num_out_ch=3, feature_channels=16, upscale=2), 2, 3, False),
    "scunet": (lambda: SCUNet(in_nc=1, config=[1] * 7, dim=64), 1, 1, False),
}
PROVEN = [name for name, row in NETWORKS.items() if row[3]]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("SWIN2SR_OPS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each, as ``torch.save`` writes it."""
    folder, found = tmp_path_factory.mktemp("checkpoints"), {}
    for name, (make, *_) in NETWORKS.items():
        torch.manual_seed(3)
        found[name] = folder / f"{name}.pth"
        torch.save(make().state_dict(), found[name])
    return found


def picture(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    waves = np.sin(np.arange(shape[0])[:, None] / 5) * np.cos(np.arange(shape[1]) / 9) / 4 + 0.5
    waves = waves[..., None] if len(shape) == 3 else waves
    return (waves + rng.random(shape) * 0.2).astype("f4")


def reference(path: Path, image: np.ndarray) -> np.ndarray:
    """Call spandrel on the whole image; it clips to 0..1."""
    model = spandrel.ModelLoader().load_from_file(path).eval()
    planes = torch.from_numpy(image).reshape(*image.shape[:2], -1).permute(2, 0, 1)[None]
    found = model(planes)[0].permute(1, 2, 0).numpy()
    return found if image.ndim == 3 else found[..., 0]


# --- from a file to pixels ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_is_described(files: dict[str, Path], name: str) -> None:
    _, scale, channels, proven = NETWORKS[name]
    spec = plugins.resolve_model(files[name])
    assert spec == plugins.resolve_model(f"spandrel:{files[name]}")
    assert spec.architecture == "spandrel:" + {"e": "ESRGAN", "c": "Compact", "d": "DnCNN"}.get(
        name[0], {"span": "SPAN", "scunet": "SCUNet"}.get(name, "")
    )
    assert (spec.scale, spec.channels, spec.reach.exact) == (scale, channels, proven)
    assert spec.task == ("restoration" if scale == 1 else "super_resolution")
    assert (spec.licence, spec.sha256, spec.weights) == ("unknown", file_sha256(files[name]), str(files[name]))
    assert ("proven" if proven else "Approximate") in spec.advice
    assert spec.reach.pixel_bytes > 4 * 8


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_as_spandrels_own_call(files: dict[str, Path], name: str) -> None:
    """Equal if the reach is proven, else within the stated error; independent of tiles in both cases."""
    _, _, channels, proven = NETWORKS[name]
    spec = plugins.resolve_model(files[name])
    image = picture((270, 60) if channels == 1 else (270, 60, 3))
    options = {"model": files[name], "range": (0, 1)}
    found = swin2sr_ops.restore(image, **options).compute()
    assert np.array_equal(found, swin2sr_ops.restore(image, tile=(77, 44), **options).compute())
    error = np.abs(found.clip(0, 1) - reference(files[name], image)).max()
    stated = TilePlan(spec, 270, 60, (270, 60)).expected_error
    assert error <= (2e-6 if proven else stated + 2e-6)
    assert stated == 0 if proven else 0 < stated < 0.01


@settings(max_examples=12)
@given(name=sampled_from(PROVEN), height=integers(2, 70), width=integers(2, 70), cell=sampled_from([8, 24, 64]))
def test_proven_is_exact_for_any_size(files: dict[str, Path], name: str, height: int, width: int, cell: int) -> None:
    """In double precision, cells of any size give the network's result on the whole image."""
    spec = plugins.resolve_model(files[name])
    spec = replace(spec, reach=replace(spec.reach, cell=cell))
    image = picture((height, width) if spec.channels == 1 else (height, width, 3), width).astype("f8")
    found = swin2sr_ops.restore(image, model=spec, range=(0, 1), precision="float64").compute()
    network = swin2sr_ops_build_network(spec).double()
    planes = torch.from_numpy(image).reshape(height, width, -1).permute(2, 0, 1)[None]
    whole = network(planes)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found.reshape(whole.shape), whole, rtol=0, atol=1e-10)


def test_values_beyond_the_range_are_kept(files: dict[str, Path]) -> None:
    """Spandrel clips to 0..1; a range of percentiles must not clip the brightest pixels."""
    image = picture((40, 40))
    image[20, 20] = 30
    found = swin2sr_ops.restore(image, model=files["dncnn"], range=(0, 1)).compute()
    assert found.max() > 2


def test_the_command_line(files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = (picture((60, 50, 3)) * 255).astype("u1")
    tifffile.imwrite(tmp_path / "in.tif", image, photometric="rgb")
    call = ["restore", str(tmp_path / "in.tif"), str(tmp_path / "out.tif"), "--model", str(files["compact"])]
    assert main([*call, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["settings"]["exact"] is True
    assert report["model"] == "compact"
    expected = reference(files["compact"], (image / np.float32(255)).astype("f4"))
    assert np.abs(tifffile.imread(tmp_path / "out.tif").astype(int) - np.round(expected * 255)).max() <= 1
    assert main(["plan", str(tmp_path / "in.tif"), "--model", f"spandrel:{files['span']}"]) == 0
    assert "approximate: measured error" in capsys.readouterr().out
    assert main(["models", str(files["esrgan"])]) == 0
    assert "halo of 34 px is proven" in capsys.readouterr().out
    assert main([*call[:-1], str(files["span"]), "--overwrite", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["settings"]["exact"] is False
    assert main(["models", str(files["esrgan"]), "--json"]) == 0
    assert ModelSpec.from_dict(json.loads(capsys.readouterr().out)) == plugins.resolve_model(files["esrgan"])


def test_a_gray_image_and_a_stack(files: dict[str, Path]) -> None:
    stack = np.stack([picture((30, 40), seed) for seed in (1, 2)])
    found = swin2sr_ops.restore(stack, axes="ZYX", model=files["esrgan-gray"], range=(0, 1)).compute()
    assert found.shape == (2, 120, 160)
    np.testing.assert_allclose(found[1].clip(0, 1), reference(files["esrgan-gray"], stack[1]), atol=2e-6)
    lone = swin2sr_ops.restore(stack[0], model=files["compact"], range=(0, 1)).compute()
    assert lone.shape == (90, 120)


def test_another_halo(files: dict[str, Path]) -> None:
    spec = plugins.resolve_model(files["scunet"])
    near, far = (TilePlan(spec, 300, 300, (300, 300), Placement(halo=halo)).expected_error for halo in (64, 128))
    assert near > far
    assert spec.window == 64, "windows of 8 pixels after three strides of 2"
    assert Restorer(plugins.resolve_model(files["dncnn"]), halo=8).plan(99, 99).exact is False


# --- the cache of descriptions ------------------------------------------------------------------------


def test_measured_once(files: dict[str, Path], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = plugins.resolve_model(files["span"])
    (place,) = [p for p in (cache / "spandrel").glob("*.json") if spec.sha256 in p.read_text()]

    def again(*_: Any) -> None:
        raise AssertionError("looked again")

    with monkeypatch.context() as patch:
        patch.setattr(describing, "_look", again)
        assert plugins.resolve_model(files["span"]) == spec
    place.write_text("{")  # torn, for example by a full disk
    assert plugins.resolve_model(files["span"]) == spec
    assert spec.sha256 in place.read_text()


def test_a_cache_that_cannot_be_written(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SWIN2SR_OPS_CACHE", str(tmp_path / "file"))
    assert plugins.resolve_model(files["compact"]).reach.exact


# --- the proof ----------------------------------------------------------------------------------------


def support(model: nn.Module, channels: int, side: int, scale: int) -> int:
    """Return how far away input pixels change the middle of the result, by gradients."""
    image = torch.rand(1, channels, side, side, dtype=torch.float64, requires_grad=True)
    middle = side // 2
    block = model(image)[..., middle * scale : (middle + 1) * scale, middle * scale : (middle + 1) * scale]
    (gradient,) = torch.autograd.grad(block.sum(), image)
    places = gradient.abs().sum((0, 1)).nonzero() - middle
    return int(places.abs().max())


layers = lists(
    tuples(sampled_from(["conv", "down", "up", "shuffle", "transposed", "nearest", "bn"]), sampled_from([1, 2, 3])),
    min_size=1, max_size=5,
)  # fmt: skip


@settings(max_examples=30)
@given(layers)
def test_a_proven_reach_is_never_too_small(chosen: list[tuple[str, int]]) -> None:
    """Compare random stacks of layers, some with coarser stages, with their gradients."""
    torch.manual_seed(1)
    parts: list[nn.Module] = [nn.Conv2d(1, 4, 1)]
    fine, coarse = 1, 1
    for kind, n in chosen:
        if kind == "conv":
            parts += [nn.Conv2d(4, 4, 2 * n + 1, padding=n), nn.GELU()]
        elif kind == "down" and coarse < 4 and fine == 1:
            parts += [nn.Conv2d(4, 4, 3 if n < 3 else 2, stride=2, padding=1 if n < 3 else 0)]
            coarse *= 2
        elif kind in ("up", "shuffle", "transposed", "nearest") and (coarse > 1 or fine < 4):
            parts += {
                "up": [nn.ConvTranspose2d(4, 4, 2, 2)],
                "transposed": [nn.ConvTranspose2d(4, 4, 4, 2, 1)],
                "shuffle": [nn.Conv2d(4, 16, 1), nn.PixelShuffle(2)],
                "nearest": [nn.Upsample(scale_factor=2), nn.Conv2d(4, 4, 3, padding=1)],
            }[kind]
            coarse, fine = (coarse // 2, fine) if coarse > 1 else (1, fine * 2)
        elif kind == "bn":
            parts += [nn.BatchNorm2d(4)]
    parts += [nn.ConvTranspose2d(4, 4, coarse, coarse)] if coarse > 1 else []
    model = nn.Sequential(*parts).double().eval()
    sight = proven_sight(lambda net, x: net(x), model)
    assert sight is not None
    assert sight.step * fine == 1
    assert support(model, 1, 120, fine) <= -(-sight.reach.numerator // sight.reach.denominator)


@pytest.mark.parametrize("name", PROVEN)
def test_the_proof_of_real_networks(files: dict[str, Path], name: str) -> None:
    """The reach has at least as many pixels as gradients find, and not many more."""
    _, scale, channels, _ = NETWORKS[name]
    spec = plugins.resolve_model(files[name])
    seen = support(swin2sr_ops_build_network(spec).double(), channels, 80, scale)
    assert seen <= spec.reach.halo <= seen + 2


class InPlace(nn.Module):
    """It changes its input in place, so its result depends on more than its graph shows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        y = x
        y += self.conv(x)
        return x


class InPlaceFiner(nn.Module):
    """It adds in place what has passed a coarser grid: the sum keeps the reach, and changes the grid."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(1, 1, 9, padding=4)
        self.coarse, self.fine = nn.Conv2d(1, 4, 2, stride=2), nn.PixelShuffle(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.wide(x)
        y.add_(self.fine(self.coarse(x)))
        return y


class Mean(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean()


class Branch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.shape[-1] > 9 else -x


@pytest.mark.parametrize(
    "layer",
    [
        Mean(), Branch(), InPlace(), nn.AdaptiveAvgPool2d(1), nn.InstanceNorm2d(1), nn.GroupNorm(1, 1), nn.Flatten(),
        nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"), nn.Conv2d(1, 1, 4, padding=2),
        nn.Conv2d(1, 1, (3, 3), stride=(1, 2), padding=1), nn.ConvTranspose2d(1, 1, 3, 2), nn.Upsample(size=40),
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.Upsample(scale_factor=1.5),
        nn.BatchNorm2d(1, track_running_stats=False), InPlaceFiner(),
    ],
    ids=lambda layer: str(layer)[:40],
)  # fmt: skip
def test_networks_without_a_proof(layer: nn.Module) -> None:
    assert proven_sight(lambda net, x: net(x), nn.Sequential(nn.Conv2d(1, 1, 1), layer)) is None


def test_the_reach_in_words() -> None:
    assert Sight().wider(2).finer(2).wider(1).reach == 3
    assert Sight().coarser(4).wider(1).finer(4).reach == 7


# --- files that are refused ---------------------------------------------------------------------------


def refusal(model: str | Path, **wanted: Any) -> str:
    with pytest.raises(ModelError) as told:
        plugins.resolve_model(str(model), **wanted)
    return str(told.value)


def test_other_networks(tmp_path: Path) -> None:
    """The built-in loader's error stays if spandrel does not know the file either."""
    path = tmp_path / "mine.pth"
    torch.save({"layer.weight": torch.zeros(3, 3), "layer.bias": torch.zeros(3)}, path)
    plain = refusal(path)
    assert "spandrel" not in plain
    assert "does not know the architecture" in refusal(f"spandrel:{path}")
    path.write_bytes(b"PK\3\4 and no more")
    assert "truncated" in refusal(path)
    with pytest.raises(CheckpointError, match="truncated"):
        plugins.resolve_model(f"spandrel:{path}")
    assert "There is no file" in refusal("spandrel:nowhere.pth")
    with pytest.raises(ModelError, match="no model called"):
        plugins.resolve_model("nothing")


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"model.0.weight": Bomb()}, tmp_path / "bomb.pth")
    assert "any code" in refusal(f"spandrel:{tmp_path / 'bomb.pth'}")
    assert not (tmp_path / "ran").exists()


def test_our_own_networks_stay_ours(tmp_path: Path) -> None:
    path = tmp_path / "ours.pth"
    net = random_net(small_spec(dim=12, depths=(2, 2), channels=3))
    state = net.state_dict()
    torch.save(state, path)
    if plugins.resolve_model(path, window=8, value_range=1.0).architecture != "swin2sr":
        raise AssertionError
    told = refusal(f"spandrel:{path}")
    assert "without `spandrel:`" in told or "does not know the architecture" in told


def test_purposes_and_channels(files: dict[str, Path]) -> None:
    """Use spandrel's descriptors of networks with other purposes."""
    model = spandrel.ModelLoader().load_from_file(files["compact"])

    def described(purpose: str, before: int = 3, after: int = 3) -> str:
        arguments = {"tags": [], "supports_half": True, "supports_bfloat16": True, "scale": 3}
        descriptor = spandrel.ImageModelDescriptor(
            model.model, model.model.state_dict(), architecture=model.architecture, purpose=purpose,
            input_channels=before, output_channels=after, **arguments,
        )  # fmt: skip
        with pytest.raises(ModelError) as told:
            describing._look(descriptor, files["compact"])
        return str(told.value)

    assert "repaints one aligned face" in described("FaceSR")
    assert "from 4 to 3 channels" in described("SR", before=4)
    assert "fails in a test" in described("SR", before=1, after=1)


def test_hints(files: dict[str, Path]) -> None:
    assert plugins.resolve_model(files["dncnn"], task="denoise", name="mine").task == "denoise"
    assert "scale=4" in refusal(files["dncnn"], scale=4)
    assert "omit window=8" in refusal(files["dncnn"], window=8)
    assert "omit window=8" in refusal(f"spandrel:{files['dncnn']}", window=8)


def test_the_hints_of_our_own_networks_are_not_refused(tmp_path: Path) -> None:
    spec = small_spec(dim=12, depths=(2, 2), planes=3, upsampler="", scale=1)
    state = random_net(spec).state_dict()
    torch.save(state, tmp_path / "three.pth")
    told = refusal(tmp_path / "three.pth", window=8, value_range=1.0)
    assert "give planes=3" in told
    assert "omit" not in told


def test_a_file_that_changed(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(files["dncnn"].read_bytes())
    spec = plugins.resolve_model(path)
    path.write_bytes(files["compact"].read_bytes())
    with pytest.raises(CheckpointError, match="not the file that was described"):
        plugins.build_network(spec)
    path.unlink()
    with pytest.raises(CheckpointError, match="There is no file"):
        plugins.build_network(spec)


def test_without_spandrel(files: dict[str, Path]) -> None:
    """Models can be listed; the error about the file names the extra."""
    code = (
        "import sys; sys.modules['spandrel'] = None\n"
        "from swin2sr_ops.cli import main; import swin2sr_ops\n"
        f"assert swin2sr_ops.list_models(); sys.exit(main(['models', {str(files['dncnn'])!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'swin2sr-ops[spandrel]'" in done.stderr
    assert "Traceback" not in done.stderr
