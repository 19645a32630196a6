"""The ingredients of a run: one network trained from scratch for a threat, and its fine-tuned copies.

All share the first one as ancestor, without which their soups would collapse; the nominal one, too, is a fine-tune of
the robust start (Croce et al. 2023, section 5).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from seasoning.checkpoints.load import State, load_ingredient
from seasoning.checkpoints.provenance import ingredient_metadata, read_ingredient
from seasoning.checkpoints.save import save_state
from seasoning.config.base import RunSpec
from seasoning.data import Samples
from seasoning.errors import BadInput
from seasoning.models import PixelClassifier, build_model
from seasoning.threat import Threat
from seasoning.training import (
    Scores,
    Settings,
    TrainingAttack,
    TrainingObjective,
    adversarial,
    nominal,
    train,
    validator,
)


__all__ = [
    "Prepared",
    "Recipe",
    "network_for",
    "prepare_ingredient",
    "recipes",
    "settings_of",
]


class Recipe(NamedTuple):
    """How one ingredient is trained.

    Args:
        name: Its name and that of its file.
        threat: What it becomes robust to; `None` for clean images.
        objectives: One for each epoch.
        rate: Peak learning rate.
        work: Passes that an epoch takes, roughly.
        gradients: Passes of single images with a gradient that the training takes, to the image or to the parameters.
    """

    name: str
    threat: Threat | None
    objectives: Sequence[TrainingObjective]
    rate: float
    work: float
    gradients: int


class Prepared(NamedTuple):
    """Parameters of an ingredient, the epoch they are from (from 1), and the validation scores of all epochs."""

    state: State
    epoch: int
    scores: list[Scores]


def recipes(spec: RunSpec) -> list[Recipe]:
    """Every ingredient in the order of training: the base, the fine-tunes to other threats, the nominal one."""
    training = spec.training
    base, *others = [Threat.parse(text) for text in spec.threats]
    half = Threat(base.norm, base.eps / 2)
    clean = [nominal()]
    attack = TrainingAttack(steps=training.attack_steps)

    def against(threat: Threat) -> list[TrainingObjective]:
        return [adversarial(threat, attack)]

    # Straight at its full radius the base stalls: it first learns the clean images, then half the radius.
    climb = clean * training.warmup_nominal + against(half) * training.warmup_half
    plans: list[tuple[str, Threat | None, list[TrainingObjective], float]] = [
        (base.norm, base, climb + against(base) * training.base_epochs, training.base_rate),
        *[(each.norm, each, against(each) * training.finetune_epochs, training.finetune_rate) for each in others],
        ("nominal", None, clean * training.nominal_epochs, training.nominal_rate),
    ]
    made = []
    for name, threat, objectives, rate in plans:
        passes = 3 * spec.data.train
        if threat is not None:
            passes += training.attack_steps * (2 * spec.data.train + spec.data.validation)
        attacked = sum(each is not clean[0] for each in objectives)
        gradients = spec.data.train * (len(objectives) + attacked * training.attack_steps)
        made.append(Recipe(name, threat, objectives, rate, passes, gradients))
    return made


def prepare_ingredient(
    recipe: Recipe,
    folder: Path,
    spec: RunSpec,
    parts: dict[str, Samples],
    start: State | None,
    advance: Callable[[], None],
) -> Prepared:
    """An ingredient from its file, or trained and written there.

    Training that was cut off goes on from its last epoch, kept beside the file until it is written.

    Args:
        recipe: How to train it.
        folder: Where ingredients are kept.
        spec: The run.
        parts: Its splits; only training and validation images are used.
        start: Parameters to fine-tune; `None` starts from scratch.
        advance: Called once for each epoch, those trained earlier included.

    Raises:
        BadInput: its file or its training state is damaged or of another run.
    """
    path = folder / f"{recipe.name}.safetensors"
    if path.exists():
        epoch, scores = _told(path)
        for _ in scores:
            advance()
        return Prepared(dict(load_ingredient(path)), epoch, scores)
    # Initialization draws from torch's global generator: fork it, so that nothing outside notices.
    with torch.random.fork_rng():
        torch.manual_seed(spec.seed)
        model = network_for(spec, parts["train"], start)
    threats = [] if recipe.threat is None else [recipe.threat]
    unfinished = folder / f"{recipe.name}.training"
    trained = train(
        model,
        parts["train"],
        recipe.objectives,
        validator(parts["validation"], threats, spec.training.attack_steps, spec.seed),
        settings_of(spec, recipe.rate),
        seed=spec.seed,
        resume=unfinished,
        identity={"ingredient": recipe.name, "seed": spec.seed},
        on_epoch=lambda epoch, scores: advance(),
        # A run measures on the processor, and so gives the same numbers everywhere.
        device="cpu",
    )
    told = {"name": recipe.name, "epoch": trained.epoch + 1, "scores": trained.scores}
    metadata = ingredient_metadata(model.constants, threats, spec.training.architecture, told)
    save_state(trained.state, path, metadata)
    unfinished.unlink(missing_ok=True)
    return Prepared(trained.state, trained.epoch + 1, trained.scores)


def settings_of(spec: RunSpec, rate: float) -> Settings:
    """How the ingredients of a run are trained."""
    return Settings(
        rate=rate,
        batch_size=spec.training.batch_size,
        momentum=0.9,
        nesterov=True,
        weight_decay=5e-4,
        schedule="cosine",
        warmup=0.1,
        clip=1.0,
    )


def network_for(spec: RunSpec, samples: Samples, state: State | None) -> PixelClassifier:
    """The run's architecture for the classes and channels of some samples."""
    channels = samples.x.shape[1]
    return build_model(spec.training.architecture, num_classes=samples.classes, in_chans=channels, state=state)


def _told(path: Path) -> tuple[int, list[Scores]]:
    about = read_ingredient(path)
    if "scores" not in about:
        raise BadInput(f"{path} was not written by this run: remove it, and it is trained again")
    return about["epoch"], [Scores(*each) for each in about["scores"]]
