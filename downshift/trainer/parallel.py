"""Data-parallel training under `torchrun`: workers shard each batch and all-reduce gradients."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn

from downshift.errors import first_line
from downshift.trainer.errors import WorkerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True)
class Workers:
    """The process group of one run; without torchrun, a world of one."""

    rank: int = 0
    world: int = 1

    @classmethod
    def join(cls, device: torch.device) -> Workers:
        """Join the process group in torchrun's environment variables: NCCL on GPUs, Gloo elsewhere.

        Raises `WorkerError`, as every exchange with the others does, when one of them has ended or hangs.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        if not dist.is_initialized():
            with _together():
                dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which writes files and reports progress."""
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """This worker's shard of a global batch: rows `rank`, `rank + world`, …"""
        return batch[self.rank :: self.world]

    def average(self, tensors: Sequence[Tensor]) -> None:
        """All-reduce (mean) the tensors in place, as one flat buffer."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([t.reshape(-1) for t in tensors])
        with _together():
            dist.all_reduce(flat)
        flat /= self.world
        for tensor, mean in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
            tensor.copy_(mean.view(tensor.shape))

    def same_buffers(self, module: nn.Module) -> None:
        """Broadcast rank 0's buffers: BatchNorm statistics differ by shard."""
        if self.world == 1:
            return
        with _together():
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)

    def leave(self) -> None:
        """Wait for the other workers (barrier) and leave the group."""
        if self.world > 1:
            with _together():
                dist.barrier()
            dist.destroy_process_group()


@contextmanager
def _together() -> Iterator[None]:
    """Within, an exchange that fails is a `WorkerError`: torch raises `RuntimeError` for a lost peer."""
    try:
        yield
    except RuntimeError as error:
        raise WorkerError(
            f"another training process ended or hangs, its own output says why ({first_line(error)}): start "
            "all of them again, with --resume if a checkpoint was written"
        ) from error
