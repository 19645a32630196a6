"""One training in several processes: who takes which images of a batch, and what the processes tell each other.

Accelerate starts and joins them, and torch's `DistributedDataParallel` averages their gradients. All hold the same
parameters, statistics and progress after every step; the first one writes.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from seasoning.errors import BadInput, SeasoningError, differences


__all__ = ["Share", "added", "any_of", "average_statistics", "require_same", "share_of", "summed", "surviving"]

# What torch says where another process is gone, by any of its ways to talk.
_GONE = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "socket", "peer")


class Share(NamedTuple):
    """The images of a batch that one process takes.

    Args:
        rows: Which images.
        first: The place of the first one in the batch, from which its random numbers derive.
        weight: What their mean loss counts for in the mean over the processes; 0 where other processes have them.
    """

    rows: Tensor
    first: int
    weight: float


def share_of(rows: Tensor, index: int, processes: int) -> Share:
    """The share of one process in a batch, as even as can be and of two images at least.

    Where the last batch of an epoch has no two images for each process, those left over take its first images for
    nothing, since every process has to take part in every step.

    Args:
        rows: Images of the batch, `(B,)`.
        index: Number of the process, from 0.
        processes: How many there are.
    """
    pieces = rows.tensor_split(max(1, min(processes, len(rows) // 2)))
    if index >= len(pieces):
        return Share(pieces[0], 0, 0.0)
    first = sum(len(piece) for piece in pieces[:index])
    return Share(pieces[index], first, len(pieces[index]) * processes / len(rows))


def summed(accelerator: Accelerator, values: Mapping[str, float]) -> dict[str, float]:
    """Sums over all processes, the same in each of them; what one does not name is 0 there."""
    if accelerator.num_processes == 1:
        return dict(values)
    total: dict[str, float] = {}
    for each in gather_object([dict(values)]):
        total |= {name: total.get(name, 0.0) + value for name, value in each.items()}
    return total


def added(accelerator: Accelerator, before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What an objective carries after a batch: sums, to which every process adds what its images make of them."""
    if accelerator.num_processes == 1:
        return dict(after)
    more = summed(accelerator, {name: value - before.get(name, 0.0) for name, value in after.items()})
    return {**before, **{name: before.get(name, 0.0) + value for name, value in more.items()}}


def any_of(accelerator: Accelerator, said: bool) -> bool:
    """Whether any process says so."""
    return summed(accelerator, {"said": float(said)})["said"] > 0


def average_statistics(accelerator: Accelerator, network: nn.Module, weight: float) -> None:
    """Give all processes the mean of their running statistics, each weighted as its images were.

    A running mean is linear in the statistics of the batches, so this is what the batches of all would have left.
    """
    if accelerator.num_processes == 1:
        return
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    buffers = [each for layer in layers for each in (layer.running_mean, layer.running_var) if each is not None]
    if not buffers:
        return
    parts = torch.cat([buffer.flatten() for buffer in buffers]) * (weight / accelerator.num_processes)
    whole: Tensor = accelerator.reduce(parts, "sum")
    for buffer, mean in zip(buffers, whole.split([buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(mean.view_as(buffer))


def require_same(accelerator: Accelerator, told: Mapping[str, Any]) -> None:
    """Refuse processes that are at different trainings, before their first step.

    Raises:
        BadInput: naming the first one that differs from the first, and in what.
    """
    everyone: list[Mapping[str, Any]] = gather_object([dict(told)])
    for number, other in enumerate(everyone):
        if other != everyone[0]:
            raise BadInput(
                f"process {number + 1} of {len(everyone)} is at another training than the first "
                f"({differences(everyone[0], other)}): give all machines the same images, and a folder that they share"
            )


@contextmanager
def surviving(processes: int, kept: Callable[[], str]) -> Iterator[None]:
    """Say how to go on where another process of the training is gone.

    Raises:
        SeasoningError: saying so, and what is `kept`.
    """
    try:
        yield
    except RuntimeError as error:
        if processes == 1 or not any(words in str(error).lower() for words in _GONE):
            raise
        raise SeasoningError(
            f"another of the {processes} processes of this training ended, or cannot be reached; {kept()}: give the "
            "same command with --resume, in as many processes, fewer or more"
        ) from error
