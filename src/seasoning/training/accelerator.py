"""What a training takes from accelerate and from torch's global state, and leaves as it was."""

import atexit
import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import AutocastKwargs
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from seasoning.errors import BadInput


__all__ = ["Processes", "accelerator_for", "prepared", "processes", "seed_layers", "seeded", "tracked"]


# For what the first process does alone, such as to hash the images; one that dies is noticed at once all the same.
_PATIENCE = timedelta(hours=1)


class Processes(NamedTuple):
    """Which process this is of those of a training, from 0, and how many there are; the first one writes."""

    rank: int
    number: int


def accelerator_for(precision: str, device: str | None, trackers: Sequence[str], logs: Path | None) -> Accelerator:
    """Accelerate for one training, in one process or in those that were started together.

    Args:
        precision: `"bf16"`, or `"full"`.
        device: `"cpu"` stays there; by default accelerate chooses.
        trackers: Names of its experiment trackers.
        logs: The folder that they may write to.

    Raises:
        BadInput: several processes were started that cannot work together on the device.
    """
    # Another training of this process may have had another precision, which accelerate would keep.
    AcceleratorState._reset_state(reset_partial_state=True)
    processes(device)
    return Accelerator(
        cpu=_on_cpu(device),
        mixed_precision="bf16" if precision == "bf16" else "no",
        # The cache would keep rounded copies of parameters that change.
        kwargs_handlers=[AutocastKwargs(cache_enabled=False)],
        log_with=list(trackers) or None,
        project_dir=None if logs is None else str(logs),
    )


def processes(device: str | None) -> Processes:
    """The processes that `torchrun` or `accelerate launch` started together, joined by then; else this one.

    Args:
        device: `"cpu"` stays there; by default accelerate chooses.

    Raises:
        BadInput: several processes were started that cannot work together on the device.
    """
    joined, started = PartialState(cpu=_on_cpu(device), timeout=_PATIENCE), int(os.environ.get("WORLD_SIZE", 1))
    if joined.num_processes != started:
        raise BadInput(f"{started} processes were started, which cannot share {joined.device}: give --device cpu")
    if started > 1:
        # Not at the end of a training: another one may follow, and processes that parted cannot be joined again.
        atexit.unregister(_part)
        atexit.register(_part)
    return Processes(joined.process_index, joined.num_processes)


def _part() -> None:
    """Leave the other processes in order; torch's threads would abort a process that just ends."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _on_cpu(device: str | None) -> bool:
    # Accelerate would leave processes without a GPU each on its own.
    several = int(os.environ.get("WORLD_SIZE", 1)) > 1
    return device == "cpu" or (several and not torch.cuda.is_available())


def prepared(accelerator: Accelerator, model: nn.Module) -> nn.Module:
    """A model that computes in the precision of the training and shares gradients with its other processes.

    Accelerate changes how a model is called: that of the caller stays as it is, and shares its network.
    """
    ready: nn.Module = accelerator.prepare_model(copy.copy(model))
    if isinstance(ready, DistributedDataParallel):
        # Statistics are averaged after each step; between two passes of one they may not change.
        ready.broadcast_buffers = False
    return ready


@contextmanager
def tracked(accelerator: Accelerator, trackers: Sequence[str]) -> Iterator[None]:
    """Trackers that write what they hold however the block ends."""
    if not trackers:
        yield
        return
    accelerator.init_trackers("seasoning")
    try:
        yield
    finally:
        # Not `end_training`, which would part the processes of a training, too.
        for tracker in accelerator.trackers:
            tracker.finish()


@contextmanager
def seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Torch's global generators, from which layers such as dropout draw, seeded; nothing outside notices."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        seed_layers(device, seed)
        yield


def seed_layers(device: torch.device, seed: int) -> None:
    """Seed torch's global generators of the CPU and of a device."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
