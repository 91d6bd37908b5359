"""A scheduler that hangs, or whose machine is gone, closes no connection: an error follows within a minute."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from swin2sr_ops.cluster import flight
from swin2sr_ops.cluster.executor import open_cluster
from swin2sr_ops.errors import ClusterError
from tests.cluster.fakes import FakeWork, fake_stream
from tests.cluster.test_executor import SCHEDULER, Background, begun, process, until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are not stopped so there")


def test_a_scheduler_that_hangs_while_tiles_are_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with process(tmp_path / "scheduler.py", SCHEDULER) as cluster:
        address = cluster.stdout.readline().strip()
        with open_cluster(scheduler=address, timeout=120) as executor:
            executor.stream = fake_stream
            run = Background(executor, FakeWork(tmp_path, hold=True), range(100))
            until(lambda: begun(tmp_path))
            monkeypatch.setattr(flight, "PATIENCE", 2.0)
            os.kill(cluster.pid, signal.SIGSTOP)
            run.join()
            assert isinstance(run.error, ClusterError)
            assert "connection to the scheduler" in str(run.error)
            began = time.monotonic()
        assert time.monotonic() - began < 30  # leaving the cluster does not wait for it either


def test_a_scheduler_that_never_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(ClusterError, match=r"No Dask scheduler answers at .* within 2 s"):
            open_cluster(scheduler=f"tcp://127.0.0.1:{port}", timeout=2)


@pytest.mark.parametrize("address", ["nowhere", "tcp://nowhere"])
def test_an_address_without_a_port_is_refused_at_once(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that was made for it would block for a minute, and print a traceback, when Python collects it."""
    monkeypatch.setattr("distributed.Client", None)
    with pytest.raises(ClusterError, match=r"No Dask scheduler answers at '.*nowhere'.*missing port"):
        open_cluster(scheduler=address)
