"""Images of a training from memory and from files, and the labels that go with them into attack and loss."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from seasoning.attacks import apgd
from seasoning.data import Samples
from seasoning.data.photographs import Photographs, open_photographs
from seasoning.errors import BadInput
from seasoning.models import PixelClassifier
from seasoning.threat import Threat
from seasoning.training import BatchLoss, Scores, Settings, TrainingAttack, adversarial, nominal, train
from seasoning.training.attack import attack_batch
from seasoning.training.augment import Mixture, PhotoView, RandAugment, soft_labels
from seasoning.training.feed import Part, feed
from tests.data.trees import save_coded
from tests.make import training_settings


VIEW = PhotoView((8, 8), (0.5, 1.0), True, RandAugment(2, 9, 0.5))
SETTINGS = replace(training_settings(0.1), batch_size=4, view=VIEW, workers=0)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Photographs:
    """Twelve photographs of three classes."""
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(12):
        save_coded(folder / f"class-{number % 3}" / f"{number}.png", 37 * number, side=12 + number % 2)
    return open_photographs(str(folder), "images")


def parts_of(rows: list[list[int]]) -> list[Part]:
    return [Part(torch.tensor(each), seed, 1.0) for seed, each in enumerate(rows)]


def fed(samples: Samples | Photographs, rows: list[list[int]], epoch_seed: int = 5, **changes: object) -> list[Tensor]:
    return list(feed(samples, parts_of(rows), replace(SETTINGS, **changes), epoch_seed, pinned=False))  # type: ignore[arg-type]


def test_a_photograph_has_one_view_in_an_epoch_whatever_part_it_is_in(photographs: Photographs) -> None:
    whole = torch.cat(fed(photographs, [list(range(12))]))
    assert whole.shape == (12, 3, 8, 8)
    assert 0 <= float(whole.min()) < float(whole.max()) <= 1
    parts = fed(photographs, [[3, 1], [0, 11, 5]])
    assert torch.equal(torch.cat(parts), whole[[3, 1, 0, 11, 5]])
    assert not torch.equal(torch.cat(fed(photographs, [list(range(12))], epoch_seed=6)), whole)


def test_processes_that_work_ahead_change_nothing(photographs: Photographs) -> None:
    before = torch.get_rng_state()
    rows = [[3, 1], [0, 11, 5], [2]]
    ahead, here = fed(photographs, rows, workers=2), fed(photographs, rows)
    assert all(torch.equal(one, other) for one, other in zip(ahead, here, strict=True))
    assert torch.equal(before, torch.get_rng_state())


def test_images_in_memory_have_views_too(photographs: Photographs) -> None:
    x = (torch.rand(5, 3, 12, 12, generator=torch.Generator().manual_seed(0)) * 255).round() / 255
    samples = Samples("made", torch.arange(5), x, torch.zeros(5, dtype=torch.int64), classes=3)
    whole = replace(VIEW, size=(12, 12), scale=(1.0, 1.0), flips=False, randaugment=None)
    (found,) = fed(samples, [[4, 0]], view=whole)
    assert torch.equal(found, x[[4, 0]])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_photograph_is_named(tmp_path: Path, workers: int) -> None:
    for number in range(3):
        save_coded(tmp_path / "one" / f"{number}.png", number)
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "broken.png").write_bytes((tmp_path / "one" / "0.png").read_bytes()[:40])
    samples = open_photographs(str(tmp_path), "images")
    with pytest.raises(BadInput, match=r"a training image cannot be read: two/broken\.png is no image, or damaged"):
        fed(samples, [[0, 1, 2, 3]], workers=workers)


def test_photographs_are_known_by_names_and_classes_and_taken_by_rows(photographs: Photographs, tmp_path: Path) -> None:
    some = photographs.take(torch.tensor([7, 2]), "images/train")
    assert (some.name, len(some), some.classes) == ("images/train", 2, 3)
    assert some.y.tolist() == photographs.y[[7, 2]].tolist()
    assert torch.equal(torch.cat(fed(some, [[0, 1]])), torch.cat(fed(photographs, [[7, 2]])))
    prints = {each.fingerprint() for each in (photographs, some, photographs.take(torch.arange(12), "other"))}
    assert len(prints) == 2


# ---- labels


def linear() -> PixelClassifier:
    torch.manual_seed(0)
    return PixelClassifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), (0.0,), (1.0,)).double()


def images() -> Samples:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(4, 3, 2, 2, generator=generator, dtype=torch.float64)
    return Samples("made", torch.arange(4), x, torch.tensor([0, 2, 1, 1]), classes=3)


def by_hand(logits: Tensor, labels: Tensor) -> Tensor:
    return -(labels * (logits - logits.logsumexp(1, keepdim=True))).sum(1)


THREAT = Threat("l2", 0.3)


@pytest.mark.parametrize("loss", ["ce", "kl"])
def test_a_step_with_mixed_labels_is_the_one_computed_by_hand(loss: str) -> None:
    model, samples, mixture = linear(), images(), Mixture(0.8, 1.0, 0.1)
    seen: list[tuple[Tensor, Tensor, int]] = []
    attack = TrainingAttack(3, loss)  # type: ignore[arg-type]

    def watched(model: nn.Module, x: Tensor, y: Tensor, *, seed: int, state: Mapping[str, float]) -> BatchLoss:
        seen.append((x, y, seed))
        return adversarial(THREAT, attack)(model, x, y, seed=seed, state=state)

    settings = Settings(rate=0.5, batch_size=4, weight_decay=0.0, schedule="cosine", warmup=0.0, mixture=mixture)
    trained = train(model, samples, [watched], lambda model: Scores(0.0), settings, device="cpu")
    ((x, y, seed),) = seen
    assert torch.allclose(y.sum(1), torch.ones(4, dtype=y.dtype))
    # By hand: the attack climbs a loss of those labels, and the step goes down their cross-entropy at its point.
    start = linear()
    attacked = attack_batch(start, x, y, THREAT, attack, seed)
    assert torch.allclose(attacked.loss, climbed(loss, start, x, y, attacked.x_adv))
    value = by_hand(start(attacked.x_adv), y).mean()
    (slope,) = torch.autograd.grad(value, [start.network[1].weight])  # type: ignore[index]
    stepped = start.network[1].weight.detach() - 0.5 * slope  # type: ignore[index]
    assert torch.allclose(trained.last["1.weight"], stepped, rtol=1e-9)


def climbed(loss: str, model: nn.Module, x: Tensor, y: Tensor, there: Tensor) -> Tensor:
    """The loss of the attack by hand: with the soft labels, or with the prediction at the clean image."""
    with torch.no_grad():
        if loss == "ce":
            return by_hand(model(there), y)
        clean = model(x).softmax(1)
        return by_hand(model(there), clean) - by_hand(model(x), clean)


def test_the_labels_of_a_step_are_mixed_as_its_images_are() -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def watched(model: nn.Module, x: Tensor, y: Tensor, *, seed: int, state: Mapping[str, float]) -> BatchLoss:
        seen.append((x, y))
        return nominal()(model, x, y, seed=seed, state=state)

    # Every image is all of the value of its class, so the mean of a mixed one tells its labels.
    y = torch.tensor([0, 2, 1, 1, 2, 0, 2])
    x = (y.double() / 2).view(-1, 1, 1, 1).expand(-1, 3, 2, 2).clone()
    samples = Samples("made", torch.arange(7), x, y, classes=3)
    settings = Settings(
        rate=0.1,
        batch_size=4,
        weight_decay=0.0,
        schedule="cosine",
        warmup=0.0,
        accumulate=2,
        mixture=Mixture(0.8, 1.0),
    )
    train(linear(), samples, [watched] * 5, lambda model: Scores(0.0), settings, device="cpu")
    assert len(seen) == 5 * 3, "parts of 2 and 2, and of the 3 images left"
    for images, labels in seen:
        assert torch.allclose(images.mean((1, 2, 3)), labels @ torch.tensor([0.0, 0.5, 1.0], dtype=labels.dtype))
    assert any(0 < float(labels.max(1).values.min()) < 1 for _, labels in seen)


def test_the_hit_of_a_mixed_image_is_the_class_that_it_has_most_of() -> None:
    model, samples = linear(), images()
    labels = torch.tensor([[0.7, 0.3, 0.0], [0.2, 0.2, 0.6], [0.1, 0.5, 0.4], [0.4, 0.35, 0.25]], dtype=torch.float64)
    found = nominal()(model, samples.x, labels, seed=0, state={})
    assert torch.allclose(found.loss, by_hand(model(samples.x), labels).mean())
    assert torch.equal(found.right, model(samples.x).argmax(1) == torch.tensor([0, 2, 1, 0]))


def test_smoothed_labels_reach_the_loss() -> None:
    model, samples = linear(), images()
    labels = soft_labels(samples.y, 3, 0.1, torch.float64)
    assert labels[0].tolist() == pytest.approx([0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3])
    found = nominal()(model, samples.x, labels, seed=0, state={})
    wanted = functional.cross_entropy(model(samples.x), samples.y, label_smoothing=0.1)
    assert torch.allclose(found.loss, wanted)


def test_attacks_with_soft_labels_are_those_of_the_classes_where_the_labels_say_so() -> None:
    model, samples = linear(), images()
    hard = apgd(model, samples.x, samples.y, THREAT, steps=4, best_loss=True, seed=3)
    soft = apgd(
        model, samples.x, soft_labels(samples.y, 3, 0.0, torch.float64), THREAT, steps=4, best_loss=True, seed=3
    )
    assert torch.allclose(hard.x_adv, soft.x_adv)
