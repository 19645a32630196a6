"""How many images go into a model at a time: by need alone, within a budget, and halved where memory runs out."""

import platform
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seasoning.attacks import AttackResult, apgd
from seasoning.data import Batch, Samples
from seasoning.data import samples as reading
from seasoning.errors import BadInput, out_of_memory
from seasoning.evaluation import batch_size as choosing
from seasoning.evaluation import evaluator
from seasoning.evaluation import measure as measuring
from seasoning.evaluation.batch_size import POOL_BYTES, BatchSize, choose_batch_size, free_memory, reuse_freed_memory
from seasoning.evaluation.evaluator import evaluate
from seasoning.evaluation.measure import measure, measurement
from seasoning.models import PixelClassifier, build_model
from seasoning.outcomes import ModelKey
from seasoning.store.database import Store
from seasoning.threat import Threat


CPU = torch.device("cpu")
HIDDEN, CLASSES = 5000, 10
# What waits for the model, whatever goes into it.
WAITING = 5 * POOL_BYTES


class Wide(nn.Module):
    """An image takes two hidden layers' worth of memory while the second one is computed from the first."""

    def __init__(self, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(16, hidden), nn.Sigmoid(), nn.Linear(hidden, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits


class Small(nn.Module):
    """A model in a memory that holds only so many images."""

    def __init__(self, model: nn.Module, room: int, error: Callable[[], Exception]) -> None:
        super().__init__()
        self.model, self.room, self.error = model, room, error

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.room:
            raise self.error()
        logits: Tensor = self.model(x)
        return logits


ERRORS: list[Callable[[], Exception]] = [
    MemoryError,
    lambda: torch.OutOfMemoryError("CUDA out of memory."),
    lambda: RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"),
]


def images(count: int) -> Tensor:
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_memory_of_a_pass_is_that_of_the_tensors_alive_at_once(count: int) -> None:
    model, layer, number = Wide(), 4 * HIDDEN * count, 4 * CLASSES * count
    assert choosing._peak(model, images(count), False) == 2 * layer
    # With a graph the sigmoid keeps its result, and its gradient and that of its input come beside it.
    assert 3 * layer <= choosing._peak(model, images(count), True) <= 3 * layer + 10 * number + 1000


def test_views_of_parameters_are_no_memory() -> None:
    weight = torch.rand(1000, 1000)
    assert choosing._peak(lambda x: weight.t()[:16, :10] * x.flatten(1)[:, :1], images(1), False) < 2000


def test_the_number_is_a_function_of_the_model_and_the_shape_of_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def wanted(hidden: int, x: Tensor, free: int = 2**40) -> int:
        monkeypatch.setattr(choosing, "free_memory", lambda device: free)
        sizes = {choose_batch_size(Wide(hidden), x, gradients=taken).wanted for taken in (True, False)}
        assert len(sizes) == 1
        return sizes.pop()

    # 40 MiB over two layers of floats, rounded down to 1, 2, 3, 4, 6, 8, 12, …
    for hidden, size in ((10, 512), (20_000, 256), (50_000, 96), (400_000, 12), (10_000_000, 1)):
        if hidden <= 400_000:
            assert wanted(hidden, images(2)) == size
        assert choosing._wanted(8 * hidden, on_cpu=True) == size
    # Neither what the pixels are, nor how many images there are, nor what happens to be free.
    assert {wanted(50_000, x) for x in (images(1), images(40), 0 * images(3))} == {96}
    assert {wanted(50_000, images(2), free) for free in (1, 2**29, 2**33)} == {96}


def test_networks_get_the_numbers_that_were_found_to_be_quick() -> None:
    network = build_model("preact_resnet18", num_classes=10, width=16)
    assert {choose_batch_size(network, torch.rand(2, 3, 32, 32), gradients=True).wanted for _ in range(3)} == {96}


@pytest.mark.parametrize("gradients", [False, True])
def test_the_passes_fit_into_the_budget(gradients: bool) -> None:
    model = Wide(50_000)
    need = choosing._peak(model, images(2), gradients) // 2
    chosen = [
        choose_batch_size(model, images(2), gradients=gradients, memory=budget)
        for budget in (1, WAITING + need, WAITING + 10 * need, WAITING + 1000 * need)
    ]
    assert [each.wanted for each in chosen] == [96] * 4
    assert [each.size for each in chosen[:2]] == [1, 1]
    assert 6 <= chosen[2].size <= 9
    assert chosen[3].size == 96
    # By default a part of what is free.
    free = free_memory(CPU)
    assert 2**20 < free < 2**50


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(BadInput, match="memory budget of 0 bytes"):
        choose_batch_size(Wide(), images(2), gradients=False, memory=0)


def test_a_limit_on_the_group_of_processes_counts(tmp_path: Path) -> None:
    assert choosing._left_to_the_group(tmp_path) == float("inf")
    for name, text in (("memory.max", "1000\n"), ("memory.current", "700\n"), ("memory.stat", "inactive_file 50\n")):
        (tmp_path / name).write_text(text)
    assert choosing._left_to_the_group(tmp_path) == 350
    (tmp_path / "memory.max").write_text("max\n")
    assert choosing._left_to_the_group(tmp_path) == float("inf")


def test_errors_of_memory_are_told_from_others() -> None:
    for error in ERRORS:
        assert out_of_memory(error())
    assert out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    assert not out_of_memory(RuntimeError("shapes do not match"))
    assert not out_of_memory(ValueError("out of memory"))


@pytest.mark.parametrize("error", ERRORS)
def test_where_memory_runs_out_half_as_many_go_in_with_the_same_outcomes(
    robust_model: PixelClassifier, few: Samples, error: Callable[[], Exception]
) -> None:
    told: list[int] = []
    model = Small(robust_model.double(), 7, error)
    measured = partial(evaluate, attack=partial(apgd, steps=8), threat=Threat("linf", 0.1))
    batches = [Batch(few.ids[rows], few.x[rows].double(), few.y[rows]) for rows in torch.arange(40).split(20)]
    try:
        expected = measured(robust_model, batches)
        for given in (batches, replace(few, x=few.x.double())):
            told.clear()
            found = measured(model, given, on_batch_size=told.append)
            assert np.array_equal(found.adversarial, expected.adversarial)
            assert np.array_equal(found.gradients, expected.gradients)
            assert told == [20, 5] if given is batches else [40, 5]
    finally:
        robust_model.float()


def test_a_single_image_that_does_not_fit_is_told(robust_model: PixelClassifier, few: Samples) -> None:
    for samples in (few, replace(few, batch_size=None)):
        with pytest.raises(BadInput, match="a single image does not fit into the memory"):
            evaluate(Small(robust_model, 0, MemoryError), samples)
        with pytest.raises(RuntimeError, match="shapes"):
            evaluate(Small(robust_model, 0, lambda: RuntimeError("shapes do not match")), samples)
    # Where two do not fit, one tells what it needs.
    assert choose_batch_size(Small(Wide(50_000), 1, MemoryError), images(2), gradients=True).wanted == 96


def test_the_number_is_chosen_by_need_unless_it_is_given(robust_model: PixelClassifier, few: Samples) -> None:
    told: list[int] = []
    free = replace(few, batch_size=None)
    evaluate(robust_model, free, on_batch_size=told.append)
    evaluate(robust_model, few, on_batch_size=told.append)
    evaluate(robust_model, free, batch_size=3, on_batch_size=told.append)
    evaluate(robust_model, list(replace(few, batch_size=17)), on_batch_size=told.append)
    evaluate(robust_model, free, memory=1, on_batch_size=told.append)
    assert told == [choose_batch_size(robust_model, few.x, gradients=False).wanted, 40, 3, 17, 1]


def test_a_measurement_keeps_the_number_and_goes_on_with_it(
    robust_model: PixelClassifier, few: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = iter((BatchSize(11, 11), BatchSize(9, 12)))
    monkeypatch.setattr(measuring, "_BLOCK", 16)
    monkeypatch.setattr(measuring, "choose_batch_size", lambda *given, **options: next(chosen))
    free, keys = replace(few, batch_size=None), [ModelKey.of([name], [1.0]) for name in ("aa", "bb", "cc")]
    model = Small(robust_model, 100, MemoryError)
    told: list[BatchSize] = []
    with Store(tmp_path / "a.sqlite") as store:

        def ask(key: ModelKey, **options: Any) -> list[BatchSize | None]:
            request: dict[str, Any] = {"threat": None, "attack": None, "seed": 0, "smoke": False}
            measure(store, key, lambda: model, free, **request, **options, on_batch_size=told.append)
            asked = measurement(key, free, **request)
            return [BatchSize.kept(header) for mark, header in store.headers() if mark == asked.key]

        assert ask(keys[0], among=few.ids.numpy()[:20]) == [(11, 11)] * 2
        # The rest of the same measurement does not choose anew; another one does.
        assert ask(keys[0]) == [(11, 11)] * 4
        assert ask(keys[1], among=few.ids.numpy()[:16]) == [(9, 12)]
        model.room = 5
        assert ask(keys[1]) == [(9, 12), (4, 12), (4, 12)]
        assert told == [(4, 12)]
        model.room = 100
        assert ask(keys[2], batch_size=BatchSize.given(13)) == [(13, 13)] * 3
    assert BatchSize(13, 13).header() == {"batch_size": 13}
    assert BatchSize.kept({}) is None


def test_blocks_depend_on_the_size_of_the_images_alone() -> None:
    ids = np.arange(1200)
    for side, most in ((8, 500), (32, 500), (224, 111), (4096, 1)):
        x = torch.zeros(1, 3, 1, 1, dtype=torch.uint8).expand(1200, 3, side, side)
        samples = Samples("many", torch.arange(1200), x, torch.zeros(1200, dtype=torch.int64), 10)
        blocks = [list(measuring._blocks(replace(samples, batch_size=size), ids, ids, ids)) for size in (None, 7)]
        assert [len(block) for block in blocks[0]] == [len(block) for block in blocks[1]]
        assert len(blocks[0][0]) == (1200 if most == 500 else most)


def test_which_images_wait_together_does_not_depend_on_the_number(
    robust_model: PixelClassifier, few: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Batches of three are read, and nine wait.
    monkeypatch.setattr(reading, "_BYTES_TOGETHER", 3 * 64 * 4)
    monkeypatch.setattr(evaluator, "POOL_BYTES", 9 * 64 * 4)
    seen: list[list[int]] = []

    def watched(model: Any, x: Tensor, y: Tensor, threat: Threat, **options: Any) -> AttackResult:
        seen[-1].append(len(x))
        return apgd(model, x, y, threat, steps=1, **options)

    for size in (40, 7, None):
        seen.append([])
        evaluate(robust_model, replace(few, batch_size=size), attack=watched, threat=Threat("linf", 0.01))
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0]) == 5


REUSE = """
import resource, sys, torch
from seasoning.evaluation.batch_size import reuse_freed_memory

if sys.argv[1] == "yes":
    reuse_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    several = [torch.ones(2**19) for _ in range(10)]
    del several
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


GLIBC = platform.libc_ver()[0] == "glibc"


@pytest.mark.skipif(not GLIBC, reason="other C libraries keep what they want")
def test_freed_memory_serves_the_next_pass() -> None:
    reuse_freed_memory()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        several = [torch.ones(2**19) for _ in range(10)]
        del several
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 10_000


@pytest.mark.slow
@pytest.mark.skipif(not GLIBC, reason="other C libraries keep what they want")
def test_freed_memory_would_go_back_to_the_kernel_otherwise() -> None:
    taken, kept = (
        int(subprocess.run([sys.executable, "-c", REUSE, each], capture_output=True, text=True, check=True).stdout)
        for each in ("no", "yes")
    )
    # 20 MiB are 5,120 pages.
    assert kept < 10_000 < 50_000 < taken


BUDGET = 700 * 2**20
PEAK = f"""
import resource, torch
from functools import partial
from seasoning.attacks import AttackResult, apgd
from seasoning.data import Samples
from seasoning.evaluation import evaluate
from seasoning.models import build_model
from seasoning.threat import Threat

torch.set_num_threads(1)
model = build_model("resnet18", num_classes=10)
x = torch.randint(256, (24, 3, 224, 224), dtype=torch.uint8)
with torch.no_grad():
    y = model(x[:1].float() / 255).argmax(1).expand(24)
samples = Samples("images", torch.arange(24), x, y.contiguous(), 10)
before, sizes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
attack = partial(apgd, loss="ce", steps=1)
evaluate(model, samples, attack=attack, threat=Threat("linf", 1e-7), memory={BUDGET}, on_batch_size=sizes.append)
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before), sizes[-1])
"""


@pytest.mark.slow
def test_the_memory_of_an_attack_at_224_pixels_stays_within_the_budget() -> None:
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    peak, size = map(int, done.stdout.split()[-2:])
    assert size > 1
    assert 2**26 < peak <= BUDGET
