"""CUDA graphs on a fake GPU, which records torch's operations and repeats them in place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers, sampled_from
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from swin2sr_ops.engine.tile_engine import TileEngine
from swin2sr_ops.engine.triton import graphs
from swin2sr_ops.engine.triton.graphs import Graphs
from swin2sr_ops.engine.triton.steps import FusedSteps
from swin2sr_ops.geometry.plan import Tile, TilePlan
from swin2sr_ops.placement import Placement
from tests.conftest import random_net, small_spec
from tests.engine.test_tile_engine import engine_of, region, run


class Graph:
    """Behave like `torch.cuda.CUDAGraph`: repeat the same operations on the same memory."""

    def __init__(self) -> None:
        self.noted: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def pool(self) -> str:
        return "pool"

    def replay(self) -> None:
        for function, args, kwargs, result in self.noted:
            again = function(*args, **kwargs)
            if isinstance(result, Tensor) and not any(result is x or shared(result, x) for x in args):
                result.copy_(again)


def shared(a: Tensor, b: object) -> bool:
    return isinstance(b, Tensor) and a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


class Noting(TorchDispatchMode):
    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert function.overloadpacket.__name__ not in ("_local_scalar_dense", "equal"), "the host would wait"
        result = function(*args, **(kwargs or {}))
        self.graph.noted.append((function, args, kwargs or {}, result))
        return result


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """Return all recorded graphs."""
    found: list[Graph] = []

    @contextmanager
    def recording(graph: Graph, pool: object, stream: object, capture_error_mode: str) -> Iterator[None]:
        assert stream == "stream of cpu"
        assert capture_error_mode == "thread_local"
        assert pool == ("pool" if found else None)
        found.append(graph)
        with Noting(graph):
            yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: f"stream of {device}")
    return found


class Counted:
    """An engine with graphs that counts the tiles computed without one."""

    def __init__(self, engine: TileEngine) -> None:
        self.engine, self.spec, self.graphs, self.computed = engine, engine.spec, Graphs(engine.spec), 0

    def compute(self, image: Tensor, tile: Tile) -> dict[str, Tensor]:
        self.computed += 1
        return self.engine._run(image, tile)

    @torch.inference_mode()
    def run(self, image: Tensor, tile: Tile, row_cache: None = None) -> dict[str, Tensor]:
        return self.graphs.run(image, tile, self.compute)


@pytest.fixture(scope="module")
def engine() -> TileEngine:
    return TileEngine(random_net(small_spec(depths=(2,), heads=(2,), channels=3, window=4)))


def test_tiles_by_graphs_are_the_same(engine: TileEngine, made_up: list[Graph]) -> None:
    tiles, counted = (64, 64), Counted(engine)
    image, other = torch.rand(2, 3, 236, 246)
    assert torch.equal(run(counted, image, tiles), run(engine, image, tiles))  # type: ignore[arg-type]
    # 4 x 4 tiles: one at each corner, two along each border and four in the middle.
    assert len(made_up) == 5
    assert counted.computed == 4 + 5 * 3
    expected = run(engine, other, tiles)
    run(counted, image, tiles)  # type: ignore[arg-type]
    assert torch.equal(run(counted, other, tiles), expected)  # type: ignore[arg-type]
    assert len(made_up) == 9
    assert counted.computed == 4 + 5 * 3 + 4 * 2


def test_a_result_is_not_overwritten(engine: TileEngine, made_up: list[Graph]) -> None:
    """The next tile of the same kind does not overwrite a result that is still being written."""
    counted, tile = Counted(engine), next(iter(TilePlan(engine.spec, 32, 32, (32, 32))))
    images = torch.rand(5, 3, 32, 32)
    found = [counted.run(image, tile)["image"] for image in images]
    assert len(made_up) == 1
    for image, result in zip(images, found, strict=True):
        assert torch.equal(result, engine.run(image, tile)["image"])


def fails(graph: Graph) -> None:
    raise RuntimeError("CUDA error: operation not permitted when stream is capturing")


def differs(graph: Graph) -> None:
    graph.noted[-1][-1].fill_(7)


@pytest.mark.parametrize(
    ("replay", "told"),
    [
        (fails, "RuntimeError: CUDA error: operation not permitted"),
        (differs, "gave other values than separate kernels"),
    ],
)
def test_a_failed_graph_changes_no_pixels(
    replay: Callable[[Graph], None], told: str, engine: TileEngine, made_up: list[Graph],
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(Graph, "replay", replay)
    caplog.set_level("INFO", "swin2sr_ops")
    counted, image = Counted(engine), torch.rand(3, 236, 246)
    assert torch.equal(run(counted, image, (64, 64)), run(engine, image, (64, 64)))  # type: ignore[arg-type]
    assert len(made_up) == 1
    assert counted.computed == 16 + 1
    assert told in counted.graphs.obstacle
    assert "tiles of small are not run as CUDA graphs" in caplog.text


def test_memory_is_for_tiles_first(engine: TileEngine, made_up: list[Graph], monkeypatch: pytest.MonkeyPatch) -> None:
    """With little memory no graph is recorded, and graphs are dropped if a tile needs their memory."""
    image, tile = torch.rand(3, 32, 32), next(iter(TilePlan(engine.spec, 32, 32, (32, 32))))
    with monkeypatch.context() as patch:
        patch.setattr(graphs, "free_memory", lambda _: 100_000)
        short = Counted(engine)
        for _ in range(4):
            short.run(image, tile)
    assert short.computed == 4
    assert "too little memory" in short.graphs.obstacle

    def full(image: Tensor, tile: Tile) -> dict[str, Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    counted = Counted(engine)
    for _ in range(3):
        counted.run(image, tile)
    assert counted.computed == 3  # once while it was recorded
    with pytest.raises(torch.OutOfMemoryError):
        counted.graphs.run(torch.rand(3, 40, 32), next(iter(TilePlan(engine.spec, 40, 32, (40, 32)))), full)
    counted.run(image, tile)
    assert counted.computed == 4


@settings(max_examples=60)
@given(
    window=sampled_from([5, 7, 8]),
    halo=sampled_from(["exact", 1, 3]),
    height=integers(1, 260),
    width=integers(1, 260),
    rows=integers(9, 128),
    columns=integers(9, 128),
    which=integers(0, 10_000),
)
def test_tiles_of_one_kind_give_the_same_bits(
    window: int, halo: str | int, height: int, width: int, rows: int, columns: int, which: int
) -> None:  # fmt: skip
    """A graph gives the same bits for all tiles of its kind, wherever they lie."""
    engine = engine_of(small_spec(depths=(2,), heads=(2,), window=window))
    reach = halo if isinstance(halo, str) else halo * window
    plan = list(TilePlan(engine.spec, height, width, (rows, columns), Placement(halo=reach)))  # type: ignore[arg-type]
    tile = plan[which % len(plan)]
    image = region(torch.rand(1, height, width, generator=torch.Generator().manual_seed(which)), tile)
    alike = Tile(tile.y.alike(engine.spec), tile.x.alike(engine.spec))
    assert torch.equal(engine.run(image, alike)["image"], engine.run(image, tile)["image"])
    assert alike.y.alike(engine.spec) == alike.y


def test_few_kinds_of_tiles() -> None:
    for window, side in ((8, 256), (7, 280)):
        spec = small_spec(depths=(6, 6), heads=(2, 2), window=window)
        kinds = Counter(
            Tile(tile.y.alike(spec), tile.x.alike(spec)) for tile in TilePlan(spec, 20 * side, 20 * side, (side, side))
        )
        assert sorted(kinds.values()) == [1, 1, 1, 1, 18, 18, 18, 18, 18 * 18]


class Told(TorchDispatchMode):
    """Names of torch's operations."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("half", [True, False])
def test_nothing_comes_from_the_host(half: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our kernels read nothing from the host: a graph would repeat the first tile's numbers."""
    pytest.importorskip("triton", reason="Triton is not installed")
    from swin2sr_ops.engine.triton import kernels
    from tests.engine.triton.test_kernels import Launches

    for name in kernels.__all__:
        monkeypatch.setattr(kernels, name, Launches(getattr(kernels, name), set()))
    engine = TileEngine(random_net(small_spec(depths=(2,), heads=(2,))), kernels="triton", group=2, half=half)
    tile = next(iter(TilePlan(engine.spec, 90, 80, (33, 40))))
    image, told = region(torch.rand(1, 90, 80), tile), Told()
    with told:
        engine.run(image, tile)
    assert "copy_" in told.names
    assert not told.names & {"lift_fresh", "_to_copy", "_local_scalar_dense", "nonzero"}


def test_networks_that_are_recorded() -> None:
    """Only networks without steps in torch, which would copy from the host."""
    for changes, complete in (
        ({}, True),
        ({"upsampler": "", "scale": 1}, True),
        ({"upsampler": "pixelshuffle", "scale": 4}, False),
        ({"resi_connection": "3conv"}, False),
        ({"upsampler": "pixelshuffle_hf"}, False),
    ):
        net = random_net(small_spec(depths=(1,), heads=(2,), **changes))
        engine = TileEngine(net, kernels="triton")
        assert FusedSteps(net, engine.blocks.constants).complete is complete
        assert engine._graphs is None  # there is no GPU
