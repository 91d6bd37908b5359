"""Kill restorations into an object store, give the same command again, and compare objects.

Run by ``test_object_store.py``, in a process of its own that loads everything once and forks a child per
run, as ``tests/kills.py`` does for local outputs. A child is killed at a moment, or before or after its
n-th request to the server.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.s3_server import BUCKET, client, objects

OPTIONS: dict[str, Any] = {"tile": 64, "chunks": 128}
NAME = "killed.ome.zarr"
OUT = f"s3://{BUCKET}/{NAME}"


def signal_at(request: int, before: bool, which: int) -> None:
    """Send this process a signal at its n-th request; 0 only counts them."""
    import s3fs

    ask: Callable[..., Any] = s3fs.S3FileSystem._call_s3
    count = 0

    async def counting(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        here = count == request
        if here and before:
            os.kill(os.getpid(), which)
        result = await ask(*args, **kwargs)
        if here and not before:
            os.kill(os.getpid(), which)
        return result

    s3fs.S3FileSystem._call_s3 = counting
    globals()["requests_made"] = lambda: count


def child(source: str, model: str, log: Path, request: int, before: bool, which: int) -> None:
    """Restore; log every tile that the network computes."""
    import torch

    from swin2sr_ops.api import restore_image
    from swin2sr_ops.run import pipeline

    torch.set_num_threads(1)
    compute: Callable[..., Any] = pipeline.TileWork.compute

    def logged(work: Any, piece: Any, block: Any) -> Any:
        with log.open("a") as file:
            file.write("_".join(f"{p.start}-{p.stop}" for p in piece.write) + "\n")
        return compute(work, piece, block)

    pipeline.TileWork.compute = logged  # type: ignore[method-assign]
    signal_at(request, before, which)
    restore_image(source, OUT, model=model, **OPTIONS)
    log.with_suffix(".end").write_text(str(globals()["requests_made"]()))


def fork(source: str, model: str, log: Path, request: int = 0, before: bool = True, which: int = signal.SIGKILL) -> int:
    """Begin `child` in a fork."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        child(source, model, log, request, before, which)
        status = 0
    except BaseException as exc:  # noqa: BLE001  # a fork must not return into its parent's code
        with log.with_suffix(".told").open("w") as file:
            file.write(f"{type(exc).__name__}: {exc}")
        print(f"{type(exc).__name__}: {exc}", file=sys.stderr, flush=True)
    os._exit(status)


def status(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def difference(key: str, found: bytes | None, wanted: bytes | None) -> str:
    """Describe the difference of an object: missing, only its compressed bytes, or the number of different pixels."""
    if found is None or wanted is None:
        return f"{key}: {'missing' if found is None else 'left over'}"
    if "/c/" not in key:
        return f"{key}: {found!r} instead of {wanted!r}"
    import numpy as np
    from numcodecs.blosc import Blosc

    a, b = (np.frombuffer(Blosc().decode(data), "u2").astype(int) for data in (found, wanted))
    return f"{key}: {np.count_nonzero(a - b)} pixels, by {np.abs(a - b).max()} at most"


class Trial:
    """A disturbed run and its result."""

    def __init__(self, source: str, model: str, folder: Path) -> None:
        self.s3, self.log = client(os.environ["AWS_ENDPOINT_URL"]), folder / "log.txt"
        self.args = (source, model, self.log)
        self.told: dict[str, Any] = {"killed": 0, "again": 0, "different": [], "opened": [], "refused": ""}
        began = time.monotonic()
        assert status(fork(*self.args)) == 0
        self.taken = time.monotonic() - began
        self.requests, self.told["tiles"] = int(self.log.with_suffix(".end").read_text()), len(lines(self.log))
        self.wanted = objects(self.s3, NAME)

    def clear(self) -> None:
        for key in objects(self.s3, NAME):
            self.s3.delete_object(Bucket=BUCKET, Key=f"{NAME}/{key}")
        self.log.unlink(missing_ok=True)

    def kill(self, number: int, rng: random.Random) -> None:
        """At a request, or at a moment."""
        self.clear()
        request = rng.randint(1, self.requests) if number % 3 else 0
        pid = fork(*self.args, request, rng.random() < 0.5)
        if not request:
            time.sleep(rng.uniform(0, self.taken))
            os.kill(pid, signal.SIGKILL)
        self.told["killed"] += status(pid) == -signal.SIGKILL
        left = objects(self.s3, NAME)
        done = {key.rsplit("/", 1)[-1] for key in left if key.startswith(".swin2sr_ops/done/0/")}
        if "zarr.json" in left and any(left.get(key) != data for key, data in self.wanted.items()):
            self.told["opened"].append(number)  # looks finished, but is not
        self.goes_on((number, request), done)

    def goes_on(self, what: object, done: set[str]) -> None:
        earlier = len(lines(self.log))
        if status(fork(*self.args)) != 0:
            self.told["different"].append((what, "failed"))
            return
        self.told["again"] += len(done & set(lines(self.log)[earlier:]))
        found = objects(self.s3, NAME)
        if found != self.wanted:
            names = sorted(key for key in {*found, *self.wanted} if found.get(key) != self.wanted.get(key))
            self.told["different"].append((what, [difference(n, found.get(n), self.wanted.get(n)) for n in names]))

    def two(self) -> None:
        """Stop one in the middle: the other one is refused, and the first one finishes undisturbed."""
        self.clear()
        first = fork(*self.args, self.requests // 2, True, signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(first, os.WUNTRACED)[1])
        if status(fork(*self.args)) == 1:
            self.told["refused"] = self.log.with_suffix(".told").read_text()
        os.kill(first, signal.SIGCONT)
        if status(first) != 0 or objects(self.s3, NAME) != self.wanted:
            self.told["different"].append(("stopped", "refused another"))


def main(source: str, model: str, kills: int, seed: int, folder: Path) -> dict[str, Any]:
    trial, rng = Trial(source, model, folder), random.Random(seed)
    trial.two()
    for number in range(kills):
        trial.kill(number, rng)
    return trial.told


if __name__ == "__main__":
    from importlib import import_module

    heavy = ("tifffile", "torch", "zarr.storage", "s3fs", "boto3", "swin2sr_ops.api", "swin2sr_ops.weights.loader")
    for name in heavy:
        import_module(name)  # once, for all forks; none of them begins a thread
    where, weights, times, start, place = sys.argv[1:]
    print(json.dumps(main(where, weights, int(times), int(start), Path(place))))
