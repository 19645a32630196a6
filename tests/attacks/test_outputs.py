"""What a model answers: planted faults, and sound models that are left in peace."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from seasoning.attacks import BatchDependent, MaskedGradients, Randomised, apgd, square, strongest
from seasoning.attacks.outputs import checked_logits
from seasoning.data import Batch, Samples
from seasoning.errors import BadInput
from seasoning.evaluation.evaluator import evaluate
from seasoning.evaluation.live_soup import HalfPrecision
from seasoning.threat import Threat


class Planted(nn.Module):
    """A network whose output is tampered with."""

    def __init__(self, model: nn.Module, kind: str) -> None:
        super().__init__()
        self.model, self.kind = model, kind

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        if self.kind == "probabilities":
            return logits.softmax(1)
        if self.kind == "nan":
            return logits * torch.nan
        if self.kind == "shape":
            return logits.sum(1)
        return logits[:, :5]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("probabilities", "returns probabilities"),
        ("nan", "NaN or infinite"),
        ("shape", r"expected logits \(B, K\)"),
        ("classes", "the model has 5 classes"),
    ],
)
def test_outputs_that_are_no_logits_are_refused(robust_model: nn.Module, few: Samples, kind: str, words: str) -> None:
    model = Planted(robust_model, kind)
    with pytest.raises(BadInput, match=words):
        evaluate(model, few)
    with pytest.raises(BadInput, match=words):
        apgd(model, few.x, few.y, Threat("linf", 0.1), steps=2)


class Noisy(nn.Module):
    """Answers differently from call to call."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return logits + 0.5 * torch.randn_like(logits)


class Centred(nn.Module):
    """Takes the mean of the batch away, as batch statistics do."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model((x - x.mean(0) + 0.3).clamp(0, 1))
        return logits


@pytest.mark.parametrize(("fault", "kind"), [(Noisy, Randomised), (Centred, BatchDependent)])
@pytest.mark.parametrize("way", ["apgd", "strongest", "square", "evaluate", "clean"])
def test_models_that_an_outcome_cannot_rest_on_are_told(
    robust_model: nn.Module, few: Samples, fault: type[nn.Module], kind: type[Warning], way: str
) -> None:
    model, threat = fault(robust_model), Threat("linf", 0.01)
    attack = partial(apgd, steps=1)
    ways: dict[str, Callable[[], object]] = {
        "apgd": lambda: attack(model, few.x, few.y, threat),
        "strongest": lambda: strongest(attack, attack)(model, few.x, few.y, threat),
        "square": lambda: square(model, few.x, few.y, threat, queries=2),
        "evaluate": lambda: evaluate(model, few, attack=strongest(attack, attack), threat=threat),
        "clean": lambda: evaluate(model, few),
    }
    with pytest.warns(kind) as told:
        ways[way]()
    # Once for each measurement.
    assert [each.category for each in told] == [kind]


def test_a_sound_model_is_not_worth_a_word(
    robust_model: nn.Module, few: Samples, recwarn: pytest.WarningsRecorder
) -> None:
    for size in (40, 7, 1):
        evaluate(robust_model, replace(few, batch_size=size))
    apgd(robust_model, few.x[:1], few.y[:1], Threat("linf", 0.05), steps=2)
    assert len(recwarn) == 0


SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda z: z.softmax(1),
    "softmax in bfloat16": lambda z: z.bfloat16().softmax(1),
    "softmax in half precision, cast": lambda z: z.half().softmax(1).float(),
    "softmax of bfloat16, cast": lambda z: z.bfloat16().softmax(1).float(),
    "softmax in float64": lambda z: z.double().softmax(1),
    "softmax by hand in bfloat16": lambda z: z.bfloat16().exp() / z.bfloat16().exp().sum(1, keepdim=True),
    "softmax without a graph": lambda z: z.detach().softmax(1),
    "percents": lambda z: 100 * z.softmax(1),
    "percents in half precision": lambda z: (100 * z.softmax(1)).half(),
    "percents in bfloat16, cast": lambda z: (100 * z.softmax(1)).bfloat16().float(),
    "sigmoid": lambda z: z.sigmoid(),
    "sigmoid in half precision": lambda z: z.half().sigmoid(),
    "sigmoid in bfloat16, cast": lambda z: z.bfloat16().sigmoid().float(),
    "clamped sigmoid in percents": lambda z: 100 * z.sigmoid().clamp(1e-6, 1 - 1e-6),
    "mean of two sigmoids": lambda z: (z.sigmoid() + (2 * z).sigmoid()) / 2,
    "hard sigmoid": nn.functional.hardsigmoid,
}
LOGITS: dict[str, Callable[[Tensor], Tensor]] = {
    "small": lambda z: 1e-3 * z,
    "never negative": lambda z: z.relu(),
    "small and never negative": lambda z: (1e-3 * z).relu(),
    "around 50": lambda z: 50 + z,
    "around 10, in bfloat16": lambda z: (10 + z).bfloat16(),
    "logarithms of probabilities": lambda z: z.log_softmax(1),
    "gated by a sigmoid": lambda z: z.sigmoid() * z.relu(),
    "in [0, 1]": lambda z: (0.02 * z + 0.5).clamp(0, 1),
    "a sigmoid and something else": lambda z: 0.1 * (z.sigmoid() + z.tanh() + 1),
    "all zero": lambda z: 0 * z,
}


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("kind", SCORES)
def test_scores_are_refused(robust_model: nn.Module, few: Samples, kind: str, classes: int) -> None:
    model, y = (lambda x: SCORES[kind](robust_model(x)[:, :classes])), few.y.clamp(max=classes - 1)
    with pytest.raises(BadInput, match="expected logits; remove i"):
        apgd(model, few.x, y, Threat("linf", 0.1), steps=1)
    with pytest.raises(BadInput, match="expected logits; remove i"):
        evaluate(model, [Batch(few.ids, few.x, y)])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_probabilities_of_a_thousand_classes_in_half_precision_are_refused(dtype: torch.dtype) -> None:
    z = 6 * torch.randn(50, 1000, generator=torch.Generator().manual_seed(0))
    with pytest.raises(BadInput, match="returns probabilities"):
        checked_logits(lambda x: z.to(dtype).softmax(1), torch.zeros(50, 1), z.argmax(1), 50, probe=False)


@pytest.mark.parametrize("kind", LOGITS)
def test_logits_that_look_like_scores_pass(robust_model: nn.Module, few: Samples, kind: str) -> None:
    with warnings.catch_warnings(action="error"):
        evaluate(lambda x: LOGITS[kind](robust_model(x)), few)


def test_scores_whose_origin_cannot_be_seen_are_told(robust_model: nn.Module, few: Samples) -> None:
    with pytest.warns(MaskedGradients, match=r"all outputs of the model lie in \[0, 1\]"):
        evaluate(lambda x: robust_model(x).detach().sigmoid(), few)


def noise_beyond_the_first_two(model: nn.Module, first: Tensor, x: Tensor) -> Tensor:
    logits: Tensor = model(x)
    known = (x[:, None] == first[None]).flatten(2).all(2).any(1)
    return logits + torch.randn_like(logits) * ~known[:, None]


def rare_noise(model: nn.Module, first: Tensor, x: Tensor) -> Tensor:
    logits: Tensor = model(x)
    return logits + torch.randn_like(logits) * (torch.rand(len(x), 1) < 0.15)


def less_the_first(model: nn.Module, first: Tensor, x: Tensor) -> Tensor:
    return model((x - x[:1] + 0.3).clamp(0, 1))  # type: ignore[no-any-return]


def beside_the_next(model: nn.Module, first: Tensor, x: Tensor) -> Tensor:
    return model(0.9 * x + 0.1 * x.roll(1, 0))  # type: ignore[no-any-return]


def capacity_of_eight(model: nn.Module, first: Tensor, x: Tensor) -> Tensor:
    logits: Tensor = model(x)
    return torch.cat([logits[:8], 0.5 * logits[8:]])


def drift(model: nn.Module, first: Tensor, x: Tensor) -> Tensor:
    drift.calls += 1  # type: ignore[attr-defined]
    return model(x) + 0.1 * drift.calls * torch.arange(10)  # type: ignore[no-any-return, attr-defined]


drift.calls = 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [40, 12])
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (noise_beyond_the_first_two, Randomised),
        (rare_noise, Randomised),
        (drift, Randomised),
        (less_the_first, BatchDependent),
        (beside_the_next, BatchDependent),
        (capacity_of_eight, BatchDependent),
    ],
)
def test_faults_that_two_images_do_not_show_are_told(
    robust_model: nn.Module, few: Samples, fault: Callable[..., Tensor], kind: type[Warning], size: int
) -> None:
    model = partial(fault, robust_model, few.x[:2])
    torch.manual_seed(0)
    with pytest.warns(kind) as told:
        evaluate(model, replace(few, batch_size=size))
    assert [each.category for each in told] == [kind]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 33, 400])
@pytest.mark.parametrize("size", [1, 4, 500])
def test_the_probe_passes_few_images_in_small_groups_of_several_sizes(count: int, size: int) -> None:
    groups: list[Tensor] = []

    def watched(x: Tensor) -> Tensor:
        groups.append(x)
        return torch.cat([x, -x], 1)

    x = torch.linspace(-1, 1, count)[:, None]
    checked_logits(watched, x, torch.zeros(count, dtype=torch.int64), size, probe=True)
    probed = groups[-(-count // size) :]
    images = torch.cat(probed)
    assert len(images.unique()) == len(images)
    assert min(count, 32) - 1 <= len(images) <= 32
    assert max(map(len, probed)) <= size
    if count > 2 and size > 1:
        assert min(map(len, probed)) > 1
    if count == 400 and size == 500:
        assert sorted(map(len, probed)) == [2, 3, 5, 8, 14]
        # From everywhere in the set, and beside others than there.
        assert float(images.min()) == -1
        assert float(images.max()) == 1
        assert not torch.equal(probed[0], x[:2])


@pytest.mark.parametrize("size", [40, 7, 2])
def test_rounding_in_half_precision_is_no_fault(robust_model: nn.Module, few: Samples, size: int) -> None:
    def half(x: Tensor) -> Tensor:
        # As kernels round differently for different shapes.
        logits: Tensor = HalfPrecision(robust_model)(x)
        return (logits * (1 + 2**-8 * (len(x) % 2))).bfloat16().float()

    with warnings.catch_warnings(action="error"):
        evaluate(half, replace(few, batch_size=size))


def test_a_model_that_drops_the_batch_of_one_image_is_named(robust_model: nn.Module, few: Samples) -> None:
    with pytest.raises(BadInput, match=r"returned shape \(10,\) for 1 images"):
        evaluate(lambda x: robust_model(x).squeeze(), replace(few, batch_size=13))
