"""Start a local cluster or join an existing one, and verify that its workers can do the work."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swin2sr_ops.cluster.environment import environment
from swin2sr_ops.cluster.flight import asked, workers_of
from swin2sr_ops.errors import ClusterError, RequestError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["check_cluster_options", "check_torch", "join_cluster", "local_spec", "start_cluster"]

#: Threads of a worker, one per batch: one batch computes while the other reads and writes.
THREADS = 2


def check_cluster_options(workers: object, scheduler: object, device: str) -> None:
    """Reject contradicting arguments and a missing package with one sentence."""
    if (workers is None) == (scheduler is None):
        raise RequestError(
            f"workers={workers!r} and scheduler={scheduler!r}: give one of them, workers=N or 'gpus' for processes on "
            "this machine, scheduler='tcp://host:port' for an existing cluster."
        )
    number = isinstance(workers, int) and not isinstance(workers, bool) and workers > 0
    if workers is not None and not number and workers != "gpus":
        raise RequestError(f"workers={workers!r} is not valid: give a number of processes, or 'gpus' for one per GPU.")
    if workers == "gpus" and device not in ("auto", "cuda"):
        raise RequestError(f"workers='gpus' gives each process one GPU: device={device!r} contradicts it; omit it.")
    try:
        import distributed  # noqa: F401
    except ImportError as exc:
        raise ClusterError(
            "Workers need Dask's distributed scheduler, which is not installed: pip install 'swin2sr-ops[distributed]'."
        ) from exc


# --- processes on this machine ------------------------------------------------------------------


def visible_gpus() -> list[str]:
    """List the GPUs that this process may use, under CUDA's names."""
    import torch

    count = torch.cuda.device_count()
    if not count:
        raise RequestError(
            "workers='gpus' needs a CUDA device, and torch finds none here: give a number of processes instead, or "
            "check the driver and torch.cuda.is_available()."
        )
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return [name.strip() for name in named[:count]] or [str(i) for i in range(count)]


def local_spec(workers: int | str, threads: int | None = None) -> dict[int, dict[str, Any]]:
    """Describe the processes of a local cluster for `distributed.SpecCluster`.

    Each process gets an equal part of the memory; with ``"gpus"`` it sees exactly one GPU.
    """
    from distributed import Nanny
    from distributed.system import MEMORY_LIMIT

    from swin2sr_ops.cluster.worker import IgnoreInterrupts

    gpus: list[str] | None = visible_gpus() if workers == "gpus" else None
    count = len(gpus) if gpus is not None else int(workers)
    spec: dict[int, dict[str, Any]] = {}
    for i in range(count):
        options: dict[str, Any] = {
            "nthreads": threads or THREADS,
            "memory_limit": MEMORY_LIMIT // count,
            "host": "127.0.0.1",
            "silence_logs": logging.CRITICAL,  # the client raises the error of a failed tile; do not log it as well
            "dashboard": False,
            "plugins": (IgnoreInterrupts(),),
        }
        if gpus is not None:
            # CUDA reads the variable once, at its first use: the parent must set it before the process starts.
            options |= {"env": {"CUDA_VISIBLE_DEVICES": gpus[i]}, "resources": {"GPU": 1}}
        spec[i] = {"cls": Nanny, "options": options}
    return spec


def start_cluster(stack: ExitStack, workers: int | str, threads: int | None, timeout: float) -> tuple[Client, int]:
    """Start processes on this machine that end with ``stack``; return the client and the number of processes."""
    from distributed import Client, Scheduler, SpecCluster

    spec = local_spec(workers, threads)
    _keep_environment(stack)
    options = {"host": "127.0.0.1", "port": 0, "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    try:
        cluster = stack.enter_context(
            SpecCluster(spec, {"cls": Scheduler, "options": options}, silence_logs=logging.CRITICAL)
        )
        client = Client(cluster, timeout=timeout, set_as_default=False)
        stack.enter_context(client)
        client.wait_for_workers(len(spec), timeout=timeout)
    except (OSError, RuntimeError) as exc:
        raise ClusterError(
            f"{len(spec)} worker processes could not be started here ({str(exc).splitlines()[0]}). In a script, put "
            "the call below `if __name__ == '__main__':`, since every process imports the script. Otherwise the "
            "machine may have too little memory: give fewer workers."
        ) from exc
    return client, len(spec)


def _keep_environment(stack: ExitStack) -> None:
    """Restore the environment when ``stack`` closes: starting a worker changes the client's own environment."""
    import dask

    names = {"PYTHONHASHSEED", *dask.config.get("distributed.nanny.pre-spawn-environ", {})}
    before = {name: os.environ.get(name) for name in names}

    def put_back() -> None:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    stack.callback(put_back)


# --- an existing cluster ------------------------------------------------------------------------


def join_cluster(stack: ExitStack, scheduler: str | PathLike[str], timeout: float, wait: float) -> Client:
    """Connect to a scheduler by address or scheduler file, and verify that its workers can do the work."""
    from distributed import Client

    place = fspath(scheduler)
    target: dict[str, Any] = {"address": place}
    if "://" not in place and (place.endswith(".json") or Path(place).is_file()):
        if not Path(place).is_file():  # distributed would wait for it forever
            raise ClusterError(f"There is no scheduler file {place!r}: start the scheduler first, or give its address.")
        target = {"scheduler_file": place}
    try:
        if "address" in target:
            _check_answers(place, timeout)
        client = Client(**target, timeout=timeout, set_as_default=False)
    except (OSError, ValueError) as exc:
        reason = str(exc).partition("\n")[0] or "no answer"
        raise ClusterError(
            f"No Dask scheduler answers at {place!r} within {timeout:g} s ({reason}). Expected an "
            "address such as 'tcp://host:8786' or a scheduler file; is it running and reachable from here?"
        ) from exc
    stack.enter_context(client)
    _check_scheduler(client, place)
    _wait_for_a_worker(client, place, wait)
    _check_workers(client, place)
    return client


def _check_answers(address: str, timeout: float) -> None:
    """Raise an error if no scheduler answers there: a client would wait for ever, or a minute when it is collected.

    Raises
    ------
    OSError, ValueError
        Something takes the connection and stays silent, or the address lacks its port.
    """
    from distributed.comm.addressing import parse_address
    from distributed.core import rpc
    from distributed.security import Security

    if parse_address(address)[0] not in ("tcp", "tls"):  # tcp is what an address without a scheme means
        return

    async def ask() -> None:
        arguments = Security().get_connection_args("client")
        async with rpc(address, connection_args=arguments, timeout=timeout) as scheduler:
            await asyncio.wait_for(scheduler.identity(), timeout)

    with ThreadPoolExecutor(1) as pool:  # this thread may have an event loop, as in a notebook
        pool.submit(asyncio.run, ask()).result()


def _check_scheduler(client: Client, place: str) -> None:
    """Verify that the scheduler can import this package: it forwards functions to workers."""
    workers_of(client)  # it answers, and in time
    try:
        with asked(client):
            client.run_on_scheduler(environment)
    except ImportError as exc:
        raise _not_installed(place, "scheduler", exc) from exc


def _wait_for_a_worker(client: Client, place: str, wait: float) -> None:
    """Wait for a worker by submitting a task: clusters that start workers on demand start one for it."""
    if workers_of(client):  # busy workers count: this work waits for its turn
        return
    probe = client.submit(environment, pure=False)
    try:
        probe.result(timeout=wait)
    except TimeoutError as exc:
        raise ClusterError(
            f"No worker joined the cluster at {place!r} within {wait:g} s: start workers (`dask worker ADDRESS`, or "
            "cluster.scale(n)); if some should be running, read their logs."
        ) from exc
    except ImportError as exc:
        raise _not_installed(place, "workers", exc) from exc
    finally:
        probe.cancel()


def _check_workers(client: Client, place: str) -> None:
    """Verify that every worker has this package in the client's version."""
    with asked(client):
        found = client.run(environment, on_error="return")
    for address, answer in found.items():
        # A worker that cannot unpickle the function answers with only the text of its error.
        if isinstance(answer, Exception) and ("ModuleNotFoundError" in repr(answer) or "ImportError" in repr(answer)):
            raise _not_installed(place, f"worker {address}", answer)
    known = {address: answer for address, answer in found.items() if isinstance(answer, dict)}
    own = environment()["swin2sr_ops"]
    for address, answer in known.items():
        if answer["swin2sr_ops"] != own:
            raise ClusterError(
                f"Worker {address} of the cluster at {place!r} has swin2sr_ops {answer['swin2sr_ops']}, and this is "
                f"{own}: tiles of one image must come from one version. Install the same version on all."
            )


def check_torch(client: Client, workers: Iterable[str]) -> None:
    """Verify that these workers have one version of torch, because it computes pixels."""
    with asked(client):
        found = client.run(environment, workers=list(workers), on_error="return")
    versions = {str(answer["torch"]): address for address, answer in found.items() if isinstance(answer, dict)}
    if len(versions) > 1:
        listed = ", ".join(f"{version} on {address}" for version, address in sorted(versions.items()))
        raise ClusterError(
            f"The workers of the cluster at {client.scheduler.address!r} have different versions of torch ({listed}),"
            " which computes here: the pixels would depend on the worker that restored them. Install the same version"
            " on all, or give engine='native', which needs no torch."
        )


def _not_installed(place: str, who: str, exc: BaseException) -> ClusterError:
    return ClusterError(
        f"The {who} of the cluster at {place!r} cannot import a needed package ({exc}): install "
        "swin2sr-ops[distributed] in the environment of its scheduler and workers, the same version as here."
    )
