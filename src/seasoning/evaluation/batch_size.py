"""How many images go into a model at a time: a function of the model and its images, within a budget of memory.

Two images are passed and the bytes of the tensors that live at once are counted; as many images go in as keep a forward
pass within a fixed number of bytes. No clock is read, so the answer is always the same, and with it what float32
rounds. Only where the budget has no room for so many are there fewer, and then both numbers are told.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from seasoning.attacks import Classifier, device_of, evaluation_mode
from seasoning.errors import BadInput, out_of_memory


__all__ = ["POOL_BYTES", "BatchSize", "choose_batch_size", "free_memory", "no_room", "reuse_freed_memory"]

# Images that wait together for an attack, so that its batches stay full: so many bytes.
POOL_BYTES = 64 * 2**20
# Bytes that the tensors of a forward pass may take together, and most images: on a CPU about what its caches hold and
# its C library keeps for the next pass; a card wants enough for all of its cores.
_TOGETHER, _TOGETHER_ELSEWHERE = 40 * 2**20, 512 * 2**20
_MOST, _MOST_ELSEWHERE = 512, 2048
# By default so much of the free memory may be used; other programs want some of a computer's, too.
_FRACTION, _FRACTION_ELSEWHERE = 0.5, 0.8
# Kernels want some memory of their own beside their results.
_KERNELS = 1.25
# Images that an attack keeps for each one in the model, and copies of the images that wait for it; see `evaluator`.
_ASCENT, _COPIES = 12, 5
# The largest block that counts, less room for its header.
_LARGEST_BLOCK = 2**25 - 2**16
# What a group of processes, such as a container, may use, and uses.
_GROUP = Path("/sys/fs/cgroup")


class BatchSize(NamedTuple):
    """Most images in a model at a time.

    Args:
        size: How many.
        wanted: How many by the rule; more than `size` where memory has no room for them.
    """

    size: int
    wanted: int

    @classmethod
    def given(cls, size: int) -> "BatchSize":
        """A number that somebody asked for."""
        return cls(size, size)

    @classmethod
    def kept(cls, header: Mapping[str, Any]) -> "BatchSize | None":
        """The number that the header of a block tells; `None` where it tells none."""
        size = header.get("batch_size")
        return None if size is None else cls(size, header.get("batch_size_wanted", size))

    def header(self) -> dict[str, int]:
        """What the header of a block keeps: also the number that was wanted, where memory had no room for it."""
        return {"batch_size": self.size} | ({"batch_size_wanted": self.wanted} if self.size < self.wanted else {})


def choose_batch_size(model: Classifier, x: Tensor, *, gradients: bool, memory: int | None = None) -> BatchSize:
    """Number of images to give a model at a time while it is measured.

    Args:
        model: Images in [0, 1] to logits.
        x: Some of the images, `(B, C, H, W)`; the first two are passed.
        gradients: Whether gradients with respect to the images are taken, as in an attack.
        memory: Bytes that the passes and the images waiting for them may take; by default a part of what is free.

    Returns:
        At least 1, whatever the budget: a single image that does not fit is told when it is passed.

    Raises:
        BadInput: a budget below one byte, or a single image that does not fit into the memory.
    """
    if memory is not None and memory < 1:
        raise BadInput(f"a memory budget of {memory} bytes: expected at least 1")
    device = device_of(model, x)
    on_cpu = device.type == "cpu"
    forward, most = _need(model, x, device, gradients)
    wanted = _wanted(forward, on_cpu=on_cpu)
    if memory is None:
        memory = int(free_memory(device) * (_FRACTION if on_cpu else _FRACTION_ELSEWHERE))
    fit = _fit(most, x[0].numel() * x.element_size(), memory, on_cpu)
    return BatchSize(min(wanted, fit), wanted)


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device, those included that torch keeps for itself without using them."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    return int(min(psutil.virtual_memory().available, _left_to_the_group(_GROUP)))


def reuse_freed_memory() -> None:
    """Let the C library keep freed memory for the next pass instead of giving it back to the kernel.

    That of GNU gives back what lies free beyond twice the largest block that it has seen freed, of those below 32 MiB;
    fresh pages then take up to 40 % of a pass. So it is shown such a block, which costs nothing, since nobody touches
    it. Elsewhere nothing happens.
    """
    torch.empty(_LARGEST_BLOCK, dtype=torch.uint8)


def no_room() -> BadInput:
    """The error where a single image does not fit."""
    return BadInput(
        "a single image does not fit into the memory beside the model: end other programs, or measure on another device"
    )


def _left_to_the_group(folder: Path) -> float:
    """Bytes that a limit on the group of processes leaves; files that the system keeps in memory give way."""
    try:
        limit, used = (int((folder / name).read_text()) for name in ("memory.max", "memory.current"))
        facts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return math.inf
    return limit - used + int(facts.get("inactive_file", 0))


def _wanted(forward: float, *, on_cpu: bool) -> int:
    """The largest of 1, 2, 3, 4, 6, 8, 12, … whose images pass together within the fixed number of bytes."""
    together, most = (_TOGETHER, _MOST) if on_cpu else (_TOGETHER_ELSEWHERE, _MOST_ELSEWHERE)
    size = min(max(together / forward, 1), most)
    power: int = 2 ** int(math.log2(size))
    return power * 3 // 2 if power > 1 and size >= 1.5 * power else power


def _fit(need: float, image: int, memory: int, on_cpu: bool) -> int:
    """Number of images whose passes fit into the memory; on a CPU beside those that wait for them."""
    waiting = _COPIES * POOL_BYTES if on_cpu else 0
    return max(int((memory - waiting) / (need * _KERNELS + _ASCENT * image)), 1)


def _need(model: Classifier, x: Tensor, device: torch.device, gradients: bool) -> tuple[float, float]:
    """Bytes that an image takes in a forward pass, and at most in the passes that are planned.

    Raises:
        BadInput: a single image does not fit into the memory.
    """
    for count in (2, 1):
        few = x[torch.arange(count) % len(x)].to(device)
        try:
            with evaluation_mode(model):
                peaks = [_peak(model, few, taken) for taken in ((False, True) if gradients else (False,))]
            return max(peaks[0] / count, 1.0), max(max(peaks) / count, 1.0)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
    raise no_room()


def _peak(model: Classifier, x: Tensor, gradients: bool) -> int:
    """Bytes of all tensors that live at once in a pass, at most."""
    living = _Living()
    with living:
        if gradients:
            leaf = x.detach().requires_grad_()
            with torch.enable_grad():
                logits = model(leaf)
                if logits.requires_grad:
                    torch.autograd.grad(logits.logsumexp(1).sum(), leaf, allow_unused=True)
        else:
            with torch.no_grad():
                model(x)
    return living.peak


class _Living(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make and that are still alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._alive: dict[StorageWeakRef, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        given = {StorageWeakRef(each.untyped_storage()) for each in tree_leaves((args, kwargs)) if _is_plain(each)}
        self._alive = {key: size for key, size in self._alive.items() if not key.expired()}
        for tensor in filter(_is_plain, tree_leaves(made)):
            storage = tensor.untyped_storage()
            key = StorageWeakRef(storage)
            # A view of a parameter is no new memory.
            if key not in given:
                self._alive[key] = storage.nbytes()
        self.peak = max(self.peak, sum(self._alive.values()))
        return made


def _is_plain(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided
