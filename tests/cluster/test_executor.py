"""Restore tiles on real worker processes, which are killed, restarted and added."""

from __future__ import annotations

import itertools
import logging
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psutil
import pytest
import tifffile
import zarr

from swin2sr_ops import errors
from swin2sr_ops.cli import main
from swin2sr_ops.cluster.executor import ClusterExecutor, open_cluster, restore_here
from swin2sr_ops.cluster.flight import Feed, workers_of
from swin2sr_ops.errors import ClusterError, OutputError, RequestError, Swin2SROpsError, TileError
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.job import prepare
from swin2sr_ops.run.run import run
from swin2sr_ops.spec import ModelSpec
from tests.cluster.fakes import FakeWork, fake_stream, no_stream, note
from tests.conftest import NATIVE

distributed = pytest.importorskip("distributed")

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(300)  # a loaded machine starts processes slowly


def until(true: Callable[[], object], seconds: float = 180) -> None:
    """Wait for a condition, not for a time."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def two() -> Iterator[ClusterExecutor]:
    """Two processes that most tests share."""
    with open_cluster(workers=2) as executor:
        executor.stream = fake_stream
        yield executor


@pytest.fixture
def pids(two: ClusterExecutor) -> set[int]:
    """Both processes, also after a test has killed one."""
    two.client.wait_for_workers(2, timeout=180)
    return set(two.client.run(os.getpid).values())


@contextmanager
def existing(**options: object) -> Iterator[distributed.LocalCluster]:
    """A cluster that this package did not start."""
    settings = {"threads_per_worker": 2, "dashboard_address": None, "silence_logs": logging.CRITICAL, "n_workers": 1}
    with distributed.LocalCluster(**(settings | options)) as cluster:
        yield cluster


class Background:
    """`ClusterExecutor.tiles` in a thread, while the test disturbs it."""

    def __init__(self, executor: ClusterExecutor, work: FakeWork, pieces: Iterable[int]) -> None:
        self.done: list[int] = []
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(executor, work, pieces))
        self._thread.start()

    def _run(self, executor: ClusterExecutor, work: FakeWork, pieces: Iterable[int]) -> None:
        try:
            executor.tiles(work, iter(pieces), self.done.append)
        except Swin2SROpsError as exc:
            self.error = exc

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive(), "the run hangs"


def networks() -> int:
    """Return the number of networks that are loaded in this process."""
    from swin2sr_ops.engine.runner import _engines

    return len(_engines)


def begun(folder: Path) -> list[int]:
    return [int(path.name) for path in (folder / "begun").iterdir()] if (folder / "begun").exists() else []


# --- the meaning of "auto" ----------------------------------------------------------------------


@NATIVE
def test_workers_decide_the_engine(gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator) -> None:
    """The client has a C compiler and the workers have none: the run computes with torch, and says so."""
    tifffile.imwrite(tmp_path / "a.tif", rng.integers(0, 255, (70, 60)).astype("u1"))
    request = {"model": gray_model, "device": "cpu"}
    with existing(env={"CC": "none-at-all"}) as cluster, open_cluster(scheduler=cluster.scheduler_address) as executor:
        job = prepare(tmp_path / "a.tif", RestoreRequest(**request), workers=executor)
        report = run(job, tmp_path / "b.tif", executor=executor)
        with pytest.raises(RequestError, match=r"none-at-all.*give engine='torch'\. \(on worker tcp://"):
            prepare(tmp_path / "a.tif", RestoreRequest(engine="native", **request), workers=executor)
        limit = executor.worker_memory
    assert report.settings["engine"] == "torch"
    assert "CC='none-at-all' is not a C compiler" in report.settings["engine_why"]
    plain = prepare(tmp_path / "a.tif", RestoreRequest(engine="torch", **request), memory=limit)
    assert job.plan.tile == plain.plan.tile
    assert run(plain, tmp_path / "b.tif").state == "already"


@NATIVE
def test_a_plan_is_for_the_workers(
    gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plan counts an output as finished only if it asks workers of the kind that made it."""
    tifffile.imwrite(tmp_path / "a.tif", rng.integers(0, 255, (70, 60)).astype("u1"))
    source, model = str(tmp_path / "a.tif"), str(gray_model.weights)
    plan = ["restore", source, str(tmp_path / "b.tif"), "--model", model, "--device", "cpu", "--dry-run"]
    with existing(env={"CC": "none-at-all"}) as cluster:
        there = ["--scheduler", cluster.scheduler_address]
        assert main([*plan, *there]) == 0
        assert "from a probe of one of the workers" in capsys.readouterr().out
        with open_cluster(scheduler=cluster.scheduler_address) as executor:
            assert list(executor.client.run(networks).values()) == [0]
            # Prepared as if for this process: the run asks the workers itself.
            job = prepare(source, RestoreRequest(model=gray_model, device="cpu"))
            assert run(job, tmp_path / "b.tif", executor=executor).settings["engine"] == "torch"
        assert main([*plan, *there]) == 0
        assert "already finished" in capsys.readouterr().out
    assert main(plan) == 0
    assert "already finished" not in capsys.readouterr().out


def fake_torch(version: str) -> None:
    """Let one process have this version of torch."""
    from swin2sr_ops.cluster import environment, worker
    from swin2sr_ops.engine import runner

    environment.version = lambda package: version
    runner.torch_version = worker.torch_version = lambda: version


@pytest.fixture
def two_torches() -> Iterator[ClusterExecutor]:
    """A cluster whose workers have different versions of torch."""
    with (
        existing(n_workers=2) as cluster,
        open_cluster(scheduler=cluster.scheduler_address) as executor,
    ):
        executor.client.wait_for_workers(2, timeout=180)
        for version, address in zip(("1.0", "2.0"), workers_of(executor.client), strict=True):
            executor.client.run(fake_torch, version, workers=[address])
        yield executor


@NATIVE
def test_versions_of_torch_matter_only_where_it_computes(
    two_torches: ClusterExecutor, gray_model: ModelSpec, tmp_path: Path, rng: np.random.Generator
) -> None:
    source, output = tmp_path / "a.tif", tmp_path / "b.zarr"
    tifffile.imwrite(source, rng.integers(0, 255, (150, 60)).astype("u1"))
    request: dict[str, Any] = {"model": gray_model, "device": "cpu", "tile": 32, "chunks": 64}
    address = two_torches.client.scheduler.address
    with open_cluster(scheduler=address) as again:  # joining refuses nothing yet
        job = prepare(source, RestoreRequest(**request), workers=again)
        assert run(job, output, executor=again).tiles == job.count > 2
    assert run(prepare(source, RestoreRequest(**request)), output).state == "already"
    with pytest.raises(ClusterError, match=r"different versions of torch \(1\.0 on tcp.*, 2\.0 on .*engine='native'"):
        prepare(source, RestoreRequest(**request, engine="torch"), workers=two_torches)


def test_a_worker_with_another_torch_joins_later(
    two_torches: ClusterExecutor, gray_model: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workers agreed when they were asked."""
    monkeypatch.setattr("swin2sr_ops.cluster.executor.check_torch", lambda *_: None)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((150, 60), "u1"))
    request = RestoreRequest(model=gray_model, device="cpu", tile=32, chunks=64, engine="torch")
    job = prepare(tmp_path / "a.tif", request, workers=two_torches)
    with pytest.raises(ClusterError, match=r"computes with torch (1|2)\.0, and a worker has .*on worker tcp"):
        run(job, tmp_path / "b.zarr", executor=two_torches)
    assert not (tmp_path / "b.zarr").exists()


def test_workers_are_not_forgotten(two: ClusterExecutor, pids: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The client sometimes refreshes its view of the scheduler without workers; this must not matter at any time."""

    async def renewed(self: distributed.Client, **_: int) -> None:
        self._scheduler_identity = await self.scheduler.identity(n_workers=0)

    monkeypatch.setattr(distributed.Client, "_update_scheduler_info", renewed)
    assert len(workers_of(two.client)) == len(pids)


# --- runs ---------------------------------------------------------------------------------------


def test_every_piece_once(two: ClusterExecutor, pids: set[int], tmp_path: Path) -> None:
    work, done = FakeWork(tmp_path, seconds=0.001), []
    two.tiles(work, iter(range(300)), done.append)
    assert sorted(done) == list(range(300))
    assert work.written() == set(range(300))
    assert work.writers() == pids
    assert all((tmp_path / "begun" / str(i)).read_text() == ".\n" for i in range(300))


def test_no_pieces(two: ClusterExecutor, tmp_path: Path) -> None:
    two.tiles(FakeWork(tmp_path), iter(()), pytest.fail)


def test_every_worker_has_the_network_before_the_first_tile(
    two: ClusterExecutor, pids: set[int], tmp_path: Path
) -> None:
    two.tiles(FakeWork(tmp_path), iter(range(1)), lambda _: None)
    assert {int(path.name) for path in (tmp_path / "engines").iterdir()} == pids


def test_the_pieces_are_never_listed(two: ClusterExecutor, tmp_path: Path) -> None:
    drawn = done = most = 0

    def pieces() -> Iterator[int]:
        nonlocal drawn
        for drawn in range(1, 8001):  # noqa: UP028  (it counts what was drawn)
            yield drawn

    def finished(_: int) -> None:
        nonlocal done, most
        done += 1
        most = max(most, drawn - done)

    two.stream = no_stream
    try:
        two.tiles(FakeWork(tmp_path), pieces(), finished)
    finally:
        two.stream = fake_stream
    assert done == 8000
    assert most <= 4 * 4 * 64  # 4 lanes: two batches in flight each, and as many drawn ahead


def test_calls(two: ClusterExecutor) -> None:
    offset, results = 7, {}
    two.each(lambda item: item + offset, (i for i in range(100)), results.__setitem__)
    assert results == {i: i + 7 for i in range(100)}


def test_nothing_stays_on_the_workers(two: ClusterExecutor, tmp_path: Path) -> None:
    two.tiles(FakeWork(tmp_path), iter(range(10)), lambda _: None)
    assert held(two.client) == 0


def held(client: distributed.Client) -> int:
    """Return the runs that workers and scheduler remember."""

    def on_worker() -> int:
        from swin2sr_ops.cluster.worker import _runs

        return len(_runs)

    def on_scheduler(dask_scheduler: distributed.Scheduler) -> int:
        return sum(name.startswith("swin2sr") for name in dask_scheduler.worker_plugins)

    return sum(client.run(on_worker).values()) + client.run_on_scheduler(on_scheduler)


def test_the_same_pixels_as_here(two: ClusterExecutor, gray_model: ModelSpec, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 4000, (2, 70, 100), dtype="u2")
    zarr.save_array(tmp_path / "in.zarr", pixels)
    job = prepare(tmp_path / "in.zarr", RestoreRequest(model=gray_model, axes="ZYX", tile=32, device="cpu"))
    run(job, tmp_path / "here.ome.zarr")
    two.stream = restore_here
    try:
        report = run(job, tmp_path / "there.ome.zarr", executor=two)
    finally:
        two.stream = fake_stream
    assert report.tiles == 2 * 3 * 4
    here, there = (zarr.open_group(tmp_path / f"{name}.ome.zarr", mode="r") for name in ("here", "there"))
    assert sorted(here.array_keys()) == sorted(there.array_keys())
    for level in here.array_keys():
        np.testing.assert_array_equal(here[level][:], there[level][:])


# --- batches ------------------------------------------------------------------------------------


def test_batches_grow_and_shrink_towards_the_end() -> None:
    feed = Feed(range(1000), 64)
    sizes = [len(feed.take(4)) for _ in range(3)]
    assert sizes == [1, 1, 1]
    feed.learn(0.05, 1)
    assert feed.depth == 2
    while batch := feed.take(4):
        sizes.append(len(batch))
        feed.learn(0.05 * len(batch), len(batch))
    assert sum(sizes) == 1000
    assert max(sizes) == sizes[3] == 40  # 2 s of 0.05 s each
    assert sizes[-8:] == [1] * 8
    assert sizes[3:] == sorted(sizes[3:], reverse=True)


def test_slow_tiles_do_not_wait_on_a_worker() -> None:
    feed = Feed(range(100), 64)
    feed.learn(30.0, 1)
    assert feed.depth == 1
    assert len(feed.take(4)) == 1


def test_a_retried_batch_leaves_out_written_tiles(tmp_path: Path) -> None:
    from swin2sr_ops.cluster.worker import HeldRun

    work = FakeWork(tmp_path)
    for piece in (3, 5):
        (tmp_path / str(piece)).write_text("0 earlier")
    HeldRun(pickle.dumps((work, fake_stream)), 1).restore([3, 4, 5, 6])
    assert sorted(begun(tmp_path)) == [4, 6]
    assert work.written() == {3, 4, 5, 6}


def test_a_removed_worker_does_not_report_its_batch_as_done(tmp_path: Path) -> None:
    from swin2sr_ops.cluster.worker import HeldRun

    run = HeldRun(pickle.dumps((FakeWork(tmp_path), fake_stream)), 1)
    run.stopped = True
    with pytest.raises(ClusterError, match="to resume"):
        run.restore([1, 2])


# --- failures -----------------------------------------------------------------------------------


def test_the_error_of_a_tile_is_raised_here(two: ClusterExecutor, tmp_path: Path) -> None:
    work = FakeWork(tmp_path, bad=20)
    with pytest.raises(OutputError, match=r"There is no room for piece 20\."):
        two.tiles(work, iter(range(10_000)), lambda _: None)
    assert 0 in work.written()
    assert len(work.written()) < 10_000
    assert held(two.client) == 0
    two.tiles(FakeWork(tmp_path), iter(range(20, 30)), lambda _: None)  # and the cluster is as good as before


def test_a_worker_that_cannot_load_the_network_fails_before_the_first_tile(
    two: ClusterExecutor, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=r"no such device \(on worker tcp://"):
        two.tiles(FakeWork(tmp_path, error="no such device"), iter(range(10)), pytest.fail)
    assert not begun(tmp_path)
    assert held(two.client) == 0


def test_an_error_of_the_caller_stops_the_run(two: ClusterExecutor, tmp_path: Path) -> None:
    def done(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        two.tiles(FakeWork(tmp_path, seconds=0.001), iter(range(100_000)), done)
    assert held(two.client) == 0
    count = len(begun(tmp_path))
    two.each(abs, range(100), lambda *_: None)
    assert len(begun(tmp_path)) == count, "workers went on after the run was stopped"


@pytest.mark.parametrize("kind", [n for n in errors.__all__ if isinstance(getattr(errors, n), type)])
def test_errors_travel(kind: str) -> None:
    error = pickle.loads(pickle.dumps(getattr(errors, kind)("A sentence.")))
    assert type(error) is getattr(errors, kind)
    assert str(error) == "A sentence."


def test_a_killed_worker_of_four(tmp_path: Path) -> None:
    with open_cluster(workers=4) as executor:
        executor.stream = fake_stream
        work = FakeWork(tmp_path, hold=True)
        pids = list(executor.client.run(os.getpid).values())
        run = Background(executor, work, range(200))
        until(lambda: len(begun(tmp_path)) >= 8)  # two on each
        os.kill(pids[0], signal.SIGKILL)
        note(tmp_path / "go")
        run.join()
        assert run.error is None
        assert sorted(run.done) == list(range(200))
        assert work.written() == set(range(200))
        assert pids[0] not in work.writers()


def test_a_tile_that_kills_its_workers(two: ClusterExecutor, pids: set[int], tmp_path: Path) -> None:
    def allow(failures: int) -> Callable[..., None]:
        return lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", failures)

    two.client.run_on_scheduler(allow(1))
    try:
        with pytest.raises(TileError, match=r"2 workers died .* too little memory.*--tile"):
            two.tiles(FakeWork(tmp_path, kill=0), iter(range(3)), lambda _: None)
    finally:
        two.client.run_on_scheduler(allow(3))
    two.client.wait_for_workers(2, timeout=180)
    until(lambda: held(two.client) == 0)


def test_all_workers_are_restarted(two: ClusterExecutor, pids: set[int], tmp_path: Path) -> None:
    work = FakeWork(tmp_path, hold=True)
    run = Background(two, work, range(40))
    until(lambda: len(begun(tmp_path)) >= 4)
    with distributed.Client(two.client.scheduler.address, set_as_default=False) as other:
        other.restart()
    note(tmp_path / "go")
    run.join()
    assert run.error is None
    assert sorted(run.done) == list(range(40))
    assert not work.writers() & pids


SCHEDULER = """
import logging, sys, time
from distributed import LocalCluster
if __name__ == "__main__":
    cluster = LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None, silence_logs=logging.CRITICAL)
    print(cluster.scheduler_address, flush=True)
    time.sleep(600)
"""


@contextmanager
def process(script: Path, text: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a script in its own process group, and end it afterwards."""
    script.write_text(textwrap.dedent(text))
    command = [sys.executable, script, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment
    ) as running:
        try:
            yield running
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)


def test_the_scheduler_dies(tmp_path: Path) -> None:
    with process(tmp_path / "scheduler.py", SCHEDULER) as cluster:
        address = cluster.stdout.readline().strip()
        with open_cluster(scheduler=address, timeout=5) as executor:
            executor.stream = fake_stream
            work = FakeWork(tmp_path, hold=True)
            run = Background(executor, work, range(100))
            until(lambda: begun(tmp_path))
            os.killpg(cluster.pid, signal.SIGKILL)
            run.join()
            assert isinstance(run.error, ClusterError)
            assert "connection to the scheduler of the cluster was lost" in str(run.error)
            with pytest.raises(ClusterError, match="lost"):
                executor.tiles(work, iter(range(3)), pytest.fail)


CLIENT = """
import sys
from pathlib import Path
from typing import Any, ClassVar
from swin2sr_ops.cluster.executor import open_cluster
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.job import prepare
from swin2sr_ops.run.run import run
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.request import RestoreRequest
from tests.cluster.fakes import FakeWork, fake_stream
if __name__ == "__main__":
    try:
        with open_cluster(workers=1, timeout=180) as executor:
            executor.stream = fake_stream
            print(*(pid for pid in executor.client.run(__import__("os").getpid).values()), flush=True)
            executor.tiles(FakeWork(Path(sys.argv[1]), seconds=0.02), iter(range(10**9)), lambda _: None)
    except KeyboardInterrupt:
        print("stopped cleanly", flush=True)
        sys.exit(130)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_the_client_is_stopped(how: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C in a terminal reaches all processes of the group, a kill only the client. All processes end."""
    with process(tmp_path / "client.py", CLIENT, tmp_path) as client:
        workers = [psutil.Process(int(pid)) for pid in client.stdout.readline().split()]
        until(lambda: FakeWork(tmp_path).written())
        if how is signal.SIGINT:
            os.killpg(client.pid, how)
            out, err = client.communicate(timeout=180)
            assert (client.returncode, out) == (130, "stopped cleanly\n")
            assert "Traceback" not in err  # on a busy machine, Dask may log that an end takes long
        else:
            client.kill()
        until(lambda: not any(worker.is_running() for worker in workers))


# --- existing clusters --------------------------------------------------------------------------


def test_an_existing_cluster_is_left_as_it_was(two: ClusterExecutor, pids: set[int], tmp_path: Path) -> None:
    theirs = two.client.submit(sum, [1, 2, 3])
    work, count = FakeWork(tmp_path), []
    with open_cluster(scheduler=two.client.scheduler.address) as executor:
        executor.stream = fake_stream
        executor.tiles(work, iter(range(20)), count.append)
    assert len(count) == 20
    assert theirs.result(timeout=30) == 6
    assert set(two.client.run(os.getpid).values()) == pids
    assert held(two.client) == 0
    # The networks do not stay on workers of an existing cluster.
    assert {int(path.name) for path in (tmp_path / "released").iterdir()} == pids


def test_a_worker_that_joins_later_takes_part(tmp_path: Path) -> None:
    with existing() as cluster, open_cluster(scheduler=cluster.scheduler_address) as executor:
        executor.stream = fake_stream
        work = FakeWork(tmp_path, seconds=0.01)
        pieces = iter(range(10**6))
        run = Background(executor, work, itertools.takewhile(lambda _: len(work.writers()) < 2, pieces))
        until(lambda: begun(tmp_path))
        cluster.scale(2)
        run.join()
        assert run.error is None
        assert sorted(run.done) == list(range(len(run.done)))
        assert len(work.writers()) == 2


def test_a_scheduler_file(two: ClusterExecutor, tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text(f'{{"address": "{two.client.scheduler.address}"}}')
    results: dict[int, int] = {}
    with open_cluster(scheduler=file) as executor:
        executor.each(abs, [-1], results.__setitem__)
    assert results == {-1: 1}


def test_gpus_are_respected_where_declared(tmp_path: Path) -> None:
    """Only the worker with a GPU gets tiles, two batches share it, and any worker gets other calls."""
    from distributed import Nanny, Scheduler, SpecCluster

    workers = {
        i: {"cls": Nanny, "options": {"nthreads": 4, "resources": {"GPU": i}, "silence_logs": logging.CRITICAL}}
        for i in (0, 1)
    }
    scheduler = {"cls": Scheduler, "options": {"port": 0, "dashboard": False, "dashboard_address": ":0"}}
    with (
        SpecCluster(workers, scheduler, silence_logs=logging.CRITICAL) as cluster,
        open_cluster(scheduler=cluster.scheduler_address) as executor,
    ):
        executor.stream = fake_stream
        work = FakeWork(tmp_path, hold=True)
        run = Background(executor, work, range(30))
        until(lambda: len(begun(tmp_path)) == 2)
        note(tmp_path / "go")
        run.join()
        assert len(run.done) == 30
        with_gpu = executor.client.submit(os.getpid, pure=False, resources={"GPU": 1}).result(timeout=30)
        assert work.writers() == {with_gpu}
        assert {int(path.name) for path in (tmp_path / "engines").iterdir()} == {with_gpu}


def test_workers_without_the_package(tmp_path: Path) -> None:
    preload = tmp_path / "without.py"
    preload.write_text("import sys\nsys.modules['swin2sr_ops'] = None\n")
    with (
        existing(preload=[str(preload)]) as cluster,
        pytest.raises(ClusterError, match=r"worker tcp.* cannot import .*swin2sr_ops.* install"),
    ):
        open_cluster(scheduler=cluster.scheduler_address)


def test_a_scheduler_without_the_package(tmp_path: Path) -> None:
    text = "import sys\nsys.modules['swin2sr_ops'] = None\n" + SCHEDULER.replace("n_workers=1", "n_workers=0")
    with process(tmp_path / "scheduler.py", text) as cluster:
        address = cluster.stdout.readline().strip()
        with pytest.raises(ClusterError, match=r"scheduler of the cluster .* cannot import .*install"):
            open_cluster(scheduler=address)


def test_workers_that_do_not_come_or_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    with existing(n_workers=0) as cluster:
        with pytest.raises(ClusterError, match=r"No worker joined .* within 0\.3 s: start workers"):
            open_cluster(scheduler=cluster.scheduler_address, wait=0.3)
        cluster.scale(1)
        monkeypatch.setattr("swin2sr_ops.__version__", "99.1")
        with pytest.raises(ClusterError, match=r"has swin2sr_ops .*this is 99\.1"):
            open_cluster(scheduler=cluster.scheduler_address)


def test_missing_schedulers(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"No Dask scheduler answers at 'tcp://127\.0\.0\.1:1' within 0\.5 s"):
        open_cluster(scheduler="tcp://127.0.0.1:1", timeout=0.5)
    with pytest.raises(ClusterError, match="There is no scheduler file"):
        open_cluster(scheduler=tmp_path / "none.json")
    with pytest.raises(ClusterError, match="Expected an address such as"):
        open_cluster(scheduler="nonsense://host", timeout=0.5)


# --- requests and local processes ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "give one of them"),
        ({"workers": 2, "scheduler": "tcp://a:1"}, "give one of them"),
        ({"workers": 0}, "workers=0 is not valid"),
        ({"workers": True}, "workers=True is not valid"),
        ({"workers": "many"}, "workers='many' is not valid"),
        ({"workers": "gpus", "device": "cpu"}, "device='cpu' contradicts it"),
    ],
)
def test_requests_that_do_not_fit(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        open_cluster(**arguments)


def test_distributed_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"pip install 'swin2sr-ops\[distributed\]'"):
        open_cluster(workers=2)


def test_one_process_per_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a GPU: processes that see one device name each; the caller's environment stays as it was."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5,7")
    with open_cluster(workers="gpus") as executor:
        executor.stream = fake_stream
        work = FakeWork(tmp_path, seconds=0.01)
        executor.tiles(work, iter(range(40)), lambda _: None)
        assert executor.worker_memory > 0
    assert {(tmp_path / str(i)).read_text().split()[1] for i in range(40)} == {"3", "5"}
    assert "OMP_NUM_THREADS" not in os.environ
    assert os.environ["MKL_NUM_THREADS"] == "3"


def test_names_of_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    from swin2sr_ops.cluster.start import local_spec

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    options = [worker["options"] for worker in local_spec("gpus").values()]
    assert [o["env"] for o in options] == [{"CUDA_VISIBLE_DEVICES": str(i)} for i in range(3)]
    assert all(o["resources"] == {"GPU": 1} and o["nthreads"] == 2 for o in options)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(RequestError, match="needs a CUDA device"):
        local_spec("gpus")


def test_networks_get_the_cores_of_their_worker() -> None:
    import torch

    from swin2sr_ops.cluster.worker import _cores

    before = torch.get_num_threads()
    with _cores(before + 2):
        assert torch.get_num_threads() == before + 2
        with _cores(1):
            assert torch.get_num_threads() == before + 2
    assert torch.get_num_threads() == before


def test_tasks_have_names_that_a_dashboard_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask shows a key up to its number: a word for each kind of task, not the same function for all."""
    from distributed.utils import key_split

    from swin2sr_ops.cluster import executor as module

    class Client:
        keys: ClassVar[list[str]] = []

        def submit(self, *_: Any, key: str, **__: Any) -> None:
            self.keys.append(key)

    class Flight:
        def __init__(self, *_: Any) -> None: ...

        def run(self, send: Any, finish: Any) -> None:
            send([1])

    monkeypatch.setattr(module, "Flight", Flight)
    monkeypatch.setattr(module, "gpu_workers", lambda found: False)
    monkeypatch.setattr(module, "workers_of", lambda client: {})
    monkeypatch.setattr(module.ClusterExecutor, "_hand_out", lambda *_: None)
    monkeypatch.setattr(module.ClusterExecutor, "_take_back", lambda *_: None)
    made = module.ClusterExecutor.__new__(module.ClusterExecutor)
    made.client = Client()

    def read_range(item: int) -> int:
        return item

    made.tiles(None, [], print)
    made.each(read_range, [1], print)
    assert [key_split(key) for key in Client.keys] == ["swin2sr-restore", "swin2sr-readrange"]
    assert len(set(Client.keys)) == 2
