"""Several processes that train one network: data-parallel under torchrun, or a team of one.

Plain DistributedDataParallel, because the loop is ours already and this is all of it that several processes need;
Lightning Fabric would bring a second way to say device, precision and checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from edge.errors import InputError


@dataclass(frozen=True)
class Team:
    """The processes that train together.

    Attributes:
        rank: this process's number; 0 is the one that writes.
        size: how many there are.
        device: where this process computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def share(self, network: nn.Module) -> nn.Module:
        """Return what to call in training: gradients come out as their mean over all processes."""
        if self.size == 1:
            return network
        return DistributedDataParallel(network, device_ids=[self.device] if self.device.type == "cuda" else None)

    def mean(self, value: torch.Tensor) -> float:
        """Return the mean of a scalar over all processes."""
        if self.size > 1:
            dist.all_reduce(value)
        return float(value) / self.size

    def wait(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def join_team() -> Iterator[Team]:
    """Join the processes that torchrun started (it says so in the environment), or be one alone.

    Raises:
        InputError: the environment names several processes, but this torch has no way for them to talk.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local = int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_RANK", "0"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", local if size > 1 else torch.cuda.current_device()) if cuda else torch.device("cpu")
    if size == 1:
        yield Team(0, 1, device)
        return
    if not dist.is_available():
        raise InputError("torchrun started several processes, but this torch is built without torch.distributed")
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Team(rank, size, device)
    finally:
        dist.destroy_process_group()


def unsynced(network: nn.Module, last: bool) -> AbstractContextManager[None]:
    """Let gradients gather in each process until the last micro-batch of a step."""
    if last or not isinstance(network, DistributedDataParallel):
        return nullcontext()
    return network.no_sync()
