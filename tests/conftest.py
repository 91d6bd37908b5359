"""Shared fixtures: small models, and the folder of real images and weights if it exists."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from swin2sr_ops.spec import ModelSpec

SHARED = Path(__file__).resolve().parents[2] / "shared"

# Examples are slow networks on shared machines: no deadline; derandomised in CI so that a red run is a real one.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


#: For tests of kernels that the machine's compiler builds.
NATIVE = pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Small tensors on several threads wait for each other: six times slower on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def kernels_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a test look for its own compiler and use a library folder of its own."""
    from swin2sr_ops.engine import selftest as check
    from swin2sr_ops.engine.native import build

    caches = build.find_compiler, build.library, check.native_obstacle
    monkeypatch.setenv("SWIN2SR_OPS_CACHE", str(tmp_path / "cache"))
    for found in caches:
        found.cache_clear()
    yield
    for found in caches:
        found.cache_clear()


@pytest.fixture(autouse=True, scope="session")
def _kernels_are_built() -> None:
    """Build the kernels first, because the process that builds them says so, and tests compare what programs print."""
    from swin2sr_ops.engine.selftest import native_obstacle

    native_obstacle()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real images, weights and goldens, which some machines have beside the project."""
    if not SHARED.is_dir():
        pytest.skip(f"there is no {SHARED} with real images and weights")
    return SHARED


def small_spec(**changes: object) -> ModelSpec:
    """A network that runs in milliseconds and has every part of a real one."""
    values: dict[str, object] = {
        "name": "small", "dim": 12, "depths": (2, 2), "heads": (2, 2), "num_feat": 8,
        "upsampler": "pixelshuffledirect", "scale": 2, "channels": 1, "licence": "Apache-2.0",
    }  # fmt: skip
    return ModelSpec(**(values | changes))  # type: ignore[arg-type]


def random_net(spec: ModelSpec, seed: int = 0):
    """The network of ``spec`` with random weights, biases and norms, none of them at a special value."""
    import torch

    from swin2sr_ops.nets.network import SwinNet

    torch.manual_seed(seed)
    net = SwinNet(spec).eval().requires_grad_(False)
    for value in net.parameters():
        value.add_(torch.randn_like(value) * 0.05)
    return net


def write_model(path: Path, **changes: object) -> ModelSpec:
    """Save a small random model and return its spec."""
    import torch

    from swin2sr_ops.weights.loader import resolve_spec
    from swin2sr_ops.weights.save import save_model

    spec = small_spec(**changes)
    save_model(path, random_net(spec).state_dict(), spec, dtype=torch.float32)
    return resolve_spec(path)


@pytest.fixture(scope="session")
def gray_model(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    """x2, one channel."""
    return write_model(tmp_path_factory.mktemp("models") / "gray.safetensors")


@pytest.fixture(scope="session")
def rgb_model(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    """x2, three channels."""
    return write_model(tmp_path_factory.mktemp("models") / "rgb.safetensors", channels=3)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
