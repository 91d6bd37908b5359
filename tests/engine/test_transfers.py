"""The order in which a GPU's streams wait for each other, tested with a fake device."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from swin2sr_ops.engine import runner as network, transfers

GPU = torch.device("cuda", 0)


class Device:
    """Record calls with their streams."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.stream = Stream(self, "main")

    @contextmanager
    def on(self, stream: Stream) -> Iterator[None]:
        before, self.stream = self.stream, stream
        yield
        self.stream = before


class Stream:
    def __init__(self, device: Device, name: str) -> None:
        self.device, self.name = device, name

    def wait_stream(self, other: Stream) -> None:
        self.device.told.append(f"{self.name} waits for {other.name}")

    def record_event(self) -> Stream:
        self.device.told.append(f"{self.name} notes")
        return self

    def synchronize(self) -> None:
        self.device.told.append(f"host waits for {self.name}")


class Pixels:
    """A tensor that is copied on the current stream."""

    shape, dtype, device = (2, 2), torch.uint8, GPU

    def __init__(self, owner: Device) -> None:
        self.owner = owner

    def pin_memory(self) -> Pixels:
        return self

    def to(self, device: torch.device, *, non_blocking: bool) -> Pixels:
        assert device == GPU
        assert non_blocking
        self.owner.told.append(f"copied on {self.owner.stream.name}")
        return self

    def copy_(self, x: Pixels, *, non_blocking: bool) -> None:
        x.to(GPU, non_blocking=non_blocking)

    def record_stream(self, stream: Stream) -> None:
        self.owner.told.append(f"kept for {stream.name}")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    device = Device()
    main, names = device.stream, iter(("first", "second"))
    monkeypatch.setattr(torch.cuda, "Stream", lambda _: Stream(device, next(names)))
    monkeypatch.setattr(torch.cuda, "stream", device.on)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: main)
    monkeypatch.setattr(torch, "empty", lambda *_, **given: Pixels(device) if given["pin_memory"] else None)
    transfers._stream.cache_clear()
    yield device
    transfers._stream.cache_clear()


def test_upload(gpu: Device) -> None:
    """The computation waits for the copy, whose memory is not reused before that."""
    pixels: Any = Pixels(gpu)
    transfers.to_device(pixels, GPU)
    assert gpu.told == ["copied on first", "main waits for first", "kept for main"]


def test_download(gpu: Device) -> None:
    """The copy waits for the computation; the host waits for the copy only."""
    pixels: Any = Pixels(gpu)
    wait = transfers.to_host(pixels)
    before = ["first waits for main", "copied on first", "kept for first", "first notes"]
    assert gpu.told == before
    wait()
    assert gpu.told == [*before, "host waits for first"]


def test_each_direction_has_its_own(gpu: Device) -> None:
    pixels: Any = Pixels(gpu)
    for _ in range(2):
        transfers.to_device(pixels, GPU)
        transfers.to_host(pixels)
    assert [text for text in gpu.told if text.startswith("copied")] == ["copied on first", "copied on second"] * 2


def test_on_a_cpu() -> None:
    x = torch.arange(4)
    assert transfers.to_device(x, torch.device("cpu")) is x
    assert transfers.to_host(x)() is x


def test_an_exclusive_gpu() -> None:
    """On a GPU, the reentrant lock of its networks; on a CPU, tiles are converted in parallel."""
    with network.exclusive_gpu(GPU), network._device_lock(GPU):
        assert not _free(GPU)
    assert _free(GPU)
    with network.exclusive_gpu(torch.device("cpu")):
        assert _free(torch.device("cpu"))


def _free(device: torch.device) -> bool:
    with ThreadPoolExecutor(1) as pool:
        lock = network._device_lock(device)
        return pool.submit(lambda: lock.acquire(blocking=False) and not lock.release()).result()
