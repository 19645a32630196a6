"""The ingredients of a run: one network trained from scratch for a threat, and its fine-tuned copies.

All share the first one as ancestor, without which their soups would collapse; the nominal one, too, is a fine-tune of
the robust start (Croce et al. 2023, section 5).
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from seasoning import metrics
from seasoning.attacks import Attack, apgd
from seasoning.checkpoint import State, load_ingredient, read_metadata, save_state
from seasoning.config import RunSpec
from seasoning.data import Samples
from seasoning.errors import BadInput
from seasoning.evaluation import evaluate
from seasoning.models import Classifier, build_model
from seasoning.threat import Threat
from seasoning.training import Objective, adversarial, nominal, train


__all__ = ["Prepared", "Recipe", "network_for", "prepare_ingredient", "recipes"]

_METADATA = "seasoning.ingredient"


class Recipe(NamedTuple):
    """How one ingredient is trained.

    Args:
        name: Its name and that of its file.
        threat: What it becomes robust to; `None` for clean images.
        objectives: One for each epoch.
        attack: Measures it on the validation split after each epoch; `None` for clean accuracy.
        rate: Peak learning rate.
        work: Passes that an epoch takes, roughly.
    """

    name: str
    threat: Threat | None
    objectives: Sequence[Objective]
    attack: Attack | None
    rate: float
    work: float


class Prepared(NamedTuple):
    """Parameters of an ingredient, and the epoch they are from (from 1) of how many."""

    state: State
    epoch: int
    epochs: int


def recipes(spec: RunSpec) -> list[Recipe]:
    """Every ingredient in the order of training: the base, the fine-tunes to other threats, the nominal one."""
    training = spec.training
    base, *others = [Threat.parse(text) for text in spec.threats]
    half = Threat(base.norm, base.eps / 2)
    clean = [nominal()]

    def against(threat: Threat) -> list[Objective]:
        return [adversarial(threat, training.attack_steps)]

    # Straight at its full radius the base stalls: it first learns the clean images, then half the radius.
    climb = clean * training.warmup_nominal + against(half) * training.warmup_half
    plans: list[tuple[str, Threat | None, list[Objective], float]] = [
        (base.norm, base, climb + against(base) * training.base_epochs, training.base_rate),
        *[(each.norm, each, against(each) * training.finetune_epochs, training.finetune_rate) for each in others],
        ("nominal", None, clean * training.nominal_epochs, training.nominal_rate),
    ]
    made = []
    for name, threat, objectives, rate in plans:
        attack = None if threat is None else partial(apgd, loss="ce", steps=training.attack_steps)
        passes = 3 * spec.data.train
        if threat is not None:
            passes += training.attack_steps * (2 * spec.data.train + spec.data.validation)
        made.append(Recipe(name, threat, objectives, attack, rate, passes))
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
        epoch, epochs = _told(path)
        for _ in range(epochs):
            advance()
        return Prepared(dict(load_ingredient(path)), epoch, epochs)
    # Initialization draws from torch's global generator: fork it, so that nothing outside notices.
    with torch.random.fork_rng():
        torch.manual_seed(spec.seed)
        model = network_for(spec, parts["train"], start)
    validation = parts["validation"]

    def validate(model: nn.Module) -> float:
        if recipe.attack is None:
            return metrics.accuracy(evaluate(model, validation)).value
        outcomes = evaluate(model, validation, attack=recipe.attack, threat=recipe.threat, seed=spec.seed)
        return metrics.robust_accuracy(outcomes).value

    unfinished = folder / f"{recipe.name}.training"
    trained = train(
        model.network,
        model,
        parts["train"],
        recipe.objectives,
        validate,
        rate=recipe.rate,
        batch_size=spec.training.batch_size,
        seed=spec.seed,
        resume=unfinished,
        identity={"ingredient": recipe.name, "seed": spec.seed},
        on_epoch=lambda epoch, score: advance(),
    )
    about = {
        "name": recipe.name,
        "threat": None if recipe.threat is None else str(recipe.threat),
        "architecture": spec.training.architecture,
        "epoch": trained.epoch + 1,
        "epochs": len(recipe.objectives),
    }
    save_state(trained.state, path, {_METADATA: json.dumps(about)})
    unfinished.unlink(missing_ok=True)
    return Prepared(trained.state, trained.epoch + 1, len(recipe.objectives))


def network_for(spec: RunSpec, samples: Samples, state: State | None) -> Classifier:
    """The run's architecture for the classes and channels of some samples."""
    channels = samples.x.shape[1]
    return build_model(spec.training.architecture, num_classes=samples.classes, in_chans=channels, state=state)


def _told(path: Path) -> tuple[int, int]:
    metadata = read_metadata(path)
    if _METADATA not in metadata:
        raise BadInput(f"{path} was not written by this run: remove it, and it is trained again")
    about = json.loads(metadata[_METADATA])
    return about["epoch"], about["epochs"]
