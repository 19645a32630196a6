"""What a training takes from accelerate and from torch's global state, and leaves as it was."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import AutocastKwargs

from seasoning.errors import BadInput


__all__ = ["accelerator_for", "seeded", "tracked"]


def accelerator_for(precision: str, device: str | None, trackers: Sequence[str], logs: Path | None) -> Accelerator:
    """Accelerate for one training in one process.

    Args:
        precision: `"bf16"`, or `"full"`.
        device: `"cpu"` stays there; by default accelerate chooses.
        trackers: Names of its experiment trackers.
        logs: The folder that they may write to.

    Raises:
        BadInput: there are several processes.
    """
    # Another training of this process may have had another precision, which accelerate would keep.
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(
        cpu=device == "cpu",
        mixed_precision="bf16" if precision == "bf16" else "no",
        # The cache would keep rounded copies of parameters that change.
        kwargs_handlers=[AutocastKwargs(cache_enabled=False)],
        log_with=list(trackers) or None,
        project_dir=None if logs is None else str(logs),
    )
    if accelerator.num_processes > 1:
        raise BadInput(f"{accelerator.num_processes} processes: training takes one; start it without a launcher")
    return accelerator


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
        accelerator.end_training()


@contextmanager
def seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Torch's global generators, from which layers such as dropout draw, seeded; nothing outside notices."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            torch.cuda.manual_seed(seed)
        yield
