"""Train one model in several processes started by ``torchrun``: each processes a part of every batch.

A step's batch is a function of seed and step, so every process creates all of it and keeps each
n-th patch; gradients are averaged. The result equals that of one process, up to the order of sums.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from swin2sr_ops.errors import RequestError

__all__ = ["Team"]


@dataclass(frozen=True)
class Team:
    """This process's rank among the processes that train together."""

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: str, batch: int) -> tuple[Team, str]:
        """Join the processes that ``torchrun`` started, if it did; also return this process's device.

        Raises
        ------
        RequestError
            If a batch cannot be divided evenly.
        """
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls(), device
        if batch % size:
            raise RequestError(f"A batch of {batch} patches cannot be divided by {size} processes: give a multiple.")
        on_gpu = device in ("auto", "cuda") and torch.cuda.is_available()
        if on_gpu:
            device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
            torch.cuda.set_device(device)
        if not distributed.is_initialized():
            distributed.init_process_group("nccl" if on_gpu else "gloo")
        return cls(distributed.get_rank(), size), device

    @property
    def leads(self) -> bool:
        """True if this process writes the files and reports the progress."""
        return self.rank == 0

    def share(self, patches: Tensor) -> Tensor:
        """Return this process's part of a batch."""
        return patches[self.rank :: self.size]

    def average(self, parameters: Iterable[nn.Parameter], loss: Tensor) -> Tensor:
        """Give all processes the mean gradient; return the mean loss."""
        if self.size == 1:
            return loss
        grads = [p.grad for p in parameters if p.grad is not None]
        together = torch.cat([loss.detach().reshape(1), *(g.reshape(-1) for g in grads)])
        distributed.all_reduce(together)
        together /= self.size
        first = 1
        for grad in grads:
            grad.copy_(together[first : first + grad.numel()].view_as(grad))
            first += grad.numel()
        return together[0]
