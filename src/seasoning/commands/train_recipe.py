"""What a recipe says, as what a training takes: objectives, settings, and what the ingredient is chosen by."""

from collections.abc import Callable

import timm
from torch import nn

from seasoning.config.train import RecipeSpec
from seasoning.data import Samples
from seasoning.errors import BadInput, UnknownName
from seasoning.models.from_file import is_file_name
from seasoning.threat import Threat
from seasoning.training import (
    Outer,
    Scores,
    Settings,
    TrainingAttack,
    TrainingObjective,
    make_objective,
    require_parts,
    validator,
)
from seasoning.training.augment import Mixture, PhotoView, RandAugment


__all__ = ["check_recipe", "gradients", "has_branches", "robust_to", "settings_from", "validator_of"]


def check_recipe(spec: RecipeSpec) -> tuple[list[TrainingObjective], Settings]:
    """The training objective of every epoch, and the settings of a recipe, if both are possible.

    Raises:
        UnknownName: there is no such objective or architecture.
        BadInput: a threat without an attack, an attack without a threat, milestones that the epochs do not reach, a
            batch that its parts do not divide, or impossible settings.
    """
    if not is_file_name(spec.network.architecture) and not timm.is_model(spec.network.architecture):
        raise UnknownName("architecture", spec.network.architecture, timm.list_models())
    late = [str(milestone) for milestone in spec.schedule.milestones if milestone >= spec.schedule.epochs]
    if late and not spec.smoke:
        raise BadInput(
            f"schedule.milestones {', '.join(late)} with schedule.epochs={spec.schedule.epochs}: the learning rate "
            "would never fall there; set milestones below the epochs"
        )
    attack = _attack(spec)
    outer = Outer(spec.objective.loss, spec.objective.beta)
    # The recipe's own objective, even where its stages are others: it is what the ingredient is named by.
    make_objective(spec.objective.name, _threats(spec), attack, outer)
    objectives: list[TrainingObjective] = []
    for stage in spec.stages:
        nominal = stage.objective == "nominal"
        threats = [] if nominal else _threats(spec)
        shrunk = [Threat(threat.norm, stage.radius * threat.eps) for threat in threats]
        objectives += [make_objective(stage.objective, shrunk, None if nominal else attack, outer)] * stage.epochs
    if has_branches(spec) and {stage.objective for stage in spec.stages} != {spec.objective.name}:
        raise BadInput("objective 'advprop' with stages of others, which would leave a branch untrained: give it alone")
    settings = settings_from(spec)
    require_parts(settings)
    return objectives, settings


def settings_from(spec: RecipeSpec) -> Settings:
    """How a recipe trains, apart from what it lowers."""
    optimizer, schedule, data, augment = spec.optimizer, spec.schedule, spec.data, spec.augment
    given = optimizer.model_dump(exclude={"name", "rate", "rate_images"}, exclude_none=True)
    given |= schedule.model_dump(exclude={"epochs", "kind", "stages"})
    given |= data.model_dump(include={"crop", "flips", "workers"})
    if augment.resized_crop is not None:
        asked = None if augment.randaugment is None else RandAugment(**augment.randaugment.model_dump())
        view = PhotoView((data.shape[1], data.shape[2]), augment.resized_crop, data.flips, asked)
        given |= {"view": view, "flips": False}
    return Settings(
        **given,
        optimizer=optimizer.name,
        rate=optimizer.peak,
        schedule=schedule.kind,
        mixture=Mixture(augment.mixup, augment.cutmix, augment.smoothing),
    )


def validator_of(spec: RecipeSpec, samples: Samples) -> Callable[[nn.Module], Scores]:
    """Scores of a model on validation images, which choose the checkpoint."""
    attack = _attack(spec) or TrainingAttack(0)
    return validator(samples, robust_to(spec), attack.steps, spec.seed, steps_by_norm=attack.steps_by_norm)


def gradients(spec: RecipeSpec, images: int) -> int:
    """Passes of single images with a gradient that the training takes, to the image or to the parameters.

    Where threats are drawn, as many as an even draw takes.
    """
    attack = _attack(spec)
    steps = [] if attack is None else [attack.steps_for(threat) for threat in _threats(spec)]
    whole, count = sum(steps), len(steps)
    passes = {"nominal": 1.0, "advprop": 2 + whole, "max": 1 + whole, "avg": count + whole, "msd": 1 + whole}
    drawn = 1 + whole / max(count, 1)
    return round(images * sum(stage.epochs * passes.get(stage.objective, drawn) for stage in spec.stages))


def has_branches(spec: RecipeSpec) -> bool:
    """Whether the network has two branches of normalization, one of which is trained on attacked images."""
    return spec.objective.name == "advprop"


def robust_to(spec: RecipeSpec) -> list[Threat]:
    """What the ingredient is made robust to, and chosen by; the main branch of a network sees no attacked image."""
    return [] if has_branches(spec) else _threats(spec)


def _attack(spec: RecipeSpec) -> TrainingAttack | None:
    return None if spec.attack is None else TrainingAttack(**spec.attack.model_dump())


def _threats(spec: RecipeSpec) -> list[Threat]:
    return [Threat.parse(text) for text in spec.threats]
