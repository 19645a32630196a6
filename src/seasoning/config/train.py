"""Recipes: how one ingredient is trained, as a TOML file with a comment that says what it is for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from seasoning.config.base import Count, Fraction, Positive, Seed, Spec, Threats, read_spec, read_toml, resolve
from seasoning.config.sections import NetworkSection
from seasoning.errors import BadInput, UnknownName, nearest
from seasoning.threat import Norm


__all__ = [
    "MADE",
    "RecipeSpec",
    "asked_recipe",
    "find_recipe",
    "heading",
    "plan_files",
    "read_recipe_file",
    "recipe_files",
    "recipe_folder",
]

# A recipe of the wheel lies in the package, one of a clone in the repository's root.
_FOLDERS = (Path(__file__).parents[1] / "recipes", Path(__file__).parents[3] / "recipes")

# Plans of searches lie beside recipes: `plan.toml`, which the demo follows, and `plan-….toml`.
_PLAN = "plan"
# The source of images that a smoke run makes by itself.
MADE = "made"


class _Small(NamedTuple):
    """What stands for the networks of a family in a smoke run.

    Args:
        options: What makes it as small as it gets.
        architecture: Its name; by default the recipe's own, whose other options it keeps.
        side: Height and width of its images, where they are others.
    """

    options: dict[str, Any]
    architecture: str = ""
    side: int | None = None


# By the beginning of the architecture's name.
_SMALL = {
    "wide_resnet": _Small({"depth": 10, "widen": 1}, "wide_resnet"),
    "preact_resnet18": _Small({"width": 4}, "preact_resnet18"),
    "resnet_small": _Small({"widths": (8, 8, 8)}, "resnet_small"),
    "vit_": _Small({"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 2}, side=32),
    "resnet50": _Small({"layers": (1, 1, 1, 1), "channels": (8, 16, 32, 64)}, side=32),
}


class DataSpec(Spec):
    """Training images, and those of them that choose the checkpoint."""

    source: str = Field(description="Known data set, or folder with a folder of images for each class.")
    classes: Count = Field(description="Number of classes it must have.")
    shape: tuple[Count, Count, Count] = Field(description="Channels, height and width of its images.")
    train: Count | None = Field(default=None, description="Training images of a known data set, instead of its own.")
    validation: Count = Field(description="Held-out training images, drawn by the hash of their ids.")
    crop: Annotated[int, Field(ge=0)] = Field(default=0, description="Pixels of padding for random crops.")
    flips: bool = Field(default=False, description="Whether half of the images are mirrored.")
    workers: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Processes that decode and view images; by default as many as processors, at most 16."
    )


class RandAugmentSpec(Spec):
    """Operations on colours and geometry, drawn for every image; the numbers are those of timm."""

    layers: Count = Field(description="Operations drawn for an image.")
    magnitude: Annotated[int, Field(ge=0, le=10)] = Field(description="How strong they are, 0 to 10.")
    probability: Fraction = Field(description="How likely each of those drawn takes place.")


class AugmentSpec(Spec):
    """What becomes of images and labels, beyond the crops and flips of the data section."""

    resized_crop: tuple[Fraction, Fraction] | None = Field(
        default=None,
        description="Range of the share of an image that is cut out and brought to the size of data.shape; images in "
        "files stay on the disk.",
    )
    randaugment: RandAugmentSpec | None = None
    mixup: Annotated[float, Field(ge=0)] = Field(default=0.0, description="Parameter of mixup's Beta distribution.")
    cutmix: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="That of CutMix; with both, half of the batches are mixed by each."
    )
    smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Part of every label that is spread evenly over all classes."
    )

    @model_validator(mode="after")
    def _crops_first(self) -> "AugmentSpec":
        if self.resized_crop is None and self.randaugment is not None:
            raise ValueError(
                "randaugment without resized_crop: give the range of the crops, such as [1.0, 1.0] for all"
            )
        if self.resized_crop is not None and not 0 < self.resized_crop[0] <= self.resized_crop[1]:
            raise ValueError(
                f"resized_crop={self.resized_crop}: expected two rising shares above 0, such as [0.08, 1.0]"
            )
        return self


class TrainingObjectiveSpec(Spec):
    """The training objective."""

    name: str = Field(description="nominal, adversarial, advprop, max, sat, avg, eat or msd.")
    loss: Literal["ce", "trades"] = Field(default="ce", description="Loss at the attacked images.")
    beta: Positive = Field(default=6.0, description="Weight of the divergence in trades.")


class AttackSpec(Spec):
    """How images are attacked in training and validation."""

    steps: Count = Field(description="AutoPGD steps.")
    steps_by_norm: dict[Norm, Count] = Field(default={}, description="Steps in some norms instead, such as {l1 = 20}.")
    loss: Literal["ce", "kl"] = Field(default="ce", description="Loss that the attack maximizes.")
    batch_norm: Literal["evaluation", "training"] = Field(
        default="evaluation", description="Mode of batch norm while attacking."
    )


class OptimizerSpec(Spec):
    """The optimizer, its batches, and what it makes of them."""

    name: Literal["sgd", "adamw"] = Field(default="sgd", description="sgd, with momentum, or adamw.")
    rate: Positive = Field(description="Peak learning rate.")
    rate_images: Count | None = Field(
        default=None, description="Images in a step that the rate is meant for; it grows in proportion to batch_size."
    )
    batch_size: Count = Field(description="Images in a step.")
    momentum: Fraction | None = Field(default=None, description="Of sgd: momentum, at least 0 and below 1.")
    nesterov: bool = Field(default=False, description="Of sgd: whether momentum is Nesterov's.")
    betas: tuple[Fraction, Fraction] | None = Field(
        default=None, description="Of adamw: decay of the averages of gradients and of their squares, below 1."
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(description="Weight decay.")
    spare_norms: bool = Field(
        default=False, description="Whether norms, biases and position embeddings are spared the weight decay."
    )
    clip: Positive | None = Field(
        default=None, description="Largest norm of the gradient; longer ones are clipped to it."
    )
    accumulate: Count = Field(default=1, description="Parts that a batch is split into, to save memory.")
    precision: Literal["full", "bf16"] = Field(default="full", description="bf16 trains in mixed precision.")
    ema: Positive | None = Field(default=None, description="Decay of an exponential moving average of the parameters.")
    ingredient: Literal["raw", "ema"] | None = Field(
        default=None,
        description="Parameters that are validated and written: raw, or their moving average, ema; by default the "
        "average where there is one that has left its start behind.",
    )

    @model_validator(mode="after")
    def _has_its_own(self) -> "OptimizerSpec":
        own, others = (("betas",), ("momentum", "nesterov")) if self.name == "adamw" else (("momentum",), ("betas",))
        for key in own:
            if getattr(self, key) is None:
                raise ValueError(f"{key} is missing, which name={self.name!r} wants")
        for key in others:
            if getattr(self, key):
                raise ValueError(f"{key}={getattr(self, key)!r} with name={self.name!r}: leave it out")
        return self

    @property
    def peak(self) -> float:
        """The peak learning rate at this batch size."""
        return self.rate if self.rate_images is None else self.rate * self.batch_size / self.rate_images


class StageSpec(Spec):
    """Some epochs of a training with one objective."""

    epochs: Count = Field(description="Passes over the training images.")
    objective: str = Field(description="Training objective of the stage, as objective.name.")
    radius: Annotated[float, Field(gt=0, le=1)] = Field(default=1.0, description="Fraction of each threat's radius.")


class ScheduleSpec(Spec):
    """The learning rate over time."""

    epochs: Count = Field(description="Passes over the training images.")
    kind: Literal["cosine", "step"] = Field(description="Shape of the learning rate after the warm-up.")
    warmup: Fraction = Field(description="Fraction of the steps over which the learning rate rises linearly.")
    milestones: tuple[Count, ...] = Field(default=(), description="Epochs after which a stepped learning rate falls.")
    factor: Fraction = Field(default=0.1, description="Factor of the learning rate at each milestone.")
    stages: tuple[StageSpec, ...] = Field(
        default=(), description="Stages one after the other, such as nominal, half the radius, the full one."
    )


class RecipeSpec(Spec):
    """How one ingredient is trained."""

    starts: tuple[str, ...] = Field(default=(), description="Recipes that it may fine-tune; none starts at random.")
    threats: Threats = Field(default=(), description="What it becomes robust to; none is nominal training.")
    seed: Seed = Field(default=0, description="Seed of parameters, orders, crops and attacks.")
    smoke: bool = Field(default=False, description="Whether it only tries the machinery.")
    network: NetworkSection
    data: DataSpec
    augment: AugmentSpec = AugmentSpec()
    objective: TrainingObjectiveSpec
    attack: AttackSpec | None = None
    optimizer: OptimizerSpec
    schedule: ScheduleSpec

    @model_validator(mode="after")
    def _stages_are_the_epochs(self) -> "RecipeSpec":
        stages = self.schedule.stages
        if stages and sum(stage.epochs for stage in stages) != self.schedule.epochs:
            raise ValueError(
                f"schedule.epochs={self.schedule.epochs}, and its stages have "
                f"{' + '.join(str(stage.epochs) for stage in stages)} epochs: expected their sum"
            )
        return self

    @model_validator(mode="after")
    def _one_kind_of_crop(self) -> "RecipeSpec":
        if self.data.crop and self.augment.resized_crop is not None:
            raise ValueError(
                f"data.crop={self.data.crop} and augment.resized_crop={self.augment.resized_crop}: choose one of them"
            )
        return self

    @property
    def stages(self) -> tuple["StageSpec", ...]:
        """The stages of the training; without any, one with the recipe's objective at the full radius."""
        return self.schedule.stages or (StageSpec(epochs=self.schedule.epochs, objective=self.objective.name),)

    def shrunk(self) -> "RecipeSpec":
        """The same recipe with so small a network and so few images and steps that it takes seconds.

        Objective, losses, norms and radii of the attacks, rates and the shape of the schedule stay.
        """
        stages = tuple(stage.model_copy(update={"epochs": 1}) for stage in self.schedule.stages)
        epochs = len(stages) or min(self.schedule.epochs, 4 if self.schedule.milestones else 2)
        # A stepped schedule keeps its milestones in proportion.
        scale = epochs / self.schedule.epochs
        milestones = tuple(max(1, round(milestone * scale)) for milestone in self.schedule.milestones)
        schedule = self.schedule.model_copy(update={"epochs": epochs, "milestones": milestones, "stages": stages})
        network, data = self._small()
        attack = self.attack and self.attack.model_copy(
            update={
                "steps": min(self.attack.steps, 2),
                "steps_by_norm": {norm: min(steps, 2) for norm, steps in self.attack.steps_by_norm.items()},
            }
        )
        optimizer = self.optimizer.model_copy(update={"batch_size": 16 * min(self.optimizer.accumulate, 2)})
        optimizer = optimizer.model_copy(update={"accumulate": min(self.optimizer.accumulate, 2)})
        changes = {"network": network, "attack": attack, "optimizer": optimizer, "schedule": schedule, "data": data}
        return self.model_copy(update={"smoke": True, **changes})

    def _small(self) -> tuple[NetworkSection, DataSpec]:
        """The smallest network of the same family, and made images for it."""
        network = self.network
        known = (name for name in _SMALL if network.architecture.startswith(name))
        small = _SMALL[next(known, "resnet_small")]
        changes: dict[str, Any] = {"options": {**network.options, **small.options}}
        if small.architecture:
            changes = {"architecture": small.architecture, "options": small.options}
        channels, *sides = self.data.shape
        shape = (channels, *(sides if small.side is None else (small.side, small.side)))
        data = self.data.model_copy(update={"source": MADE, "validation": 16, "shape": shape})
        return network.model_copy(update=changes), data


def recipe_folder() -> Path:
    """The folder of the recipes that come with the package.

    Raises:
        BadInput: they are gone.
    """
    root = next((folder for folder in _FOLDERS if folder.is_dir()), None)
    if root is None:
        raise BadInput("the recipes of the package are gone: install it again")
    return root


def recipe_files() -> dict[str, Path]:
    """The recipes that come with the package, by names such as `"cifar10/linf-scratch"`; plans are none."""
    return _files(plans=False)


def plan_files() -> dict[str, Path]:
    """The plans of searches that come with the package, by names such as `"digits/plan"`."""
    return _files(plans=True)


def _files(*, plans: bool) -> dict[str, Path]:
    root = recipe_folder()
    return {
        path.relative_to(root).with_suffix("").as_posix(): path
        for path in sorted(root.rglob("*.toml"))
        if (path.stem.partition("-")[0] == _PLAN) == plans
    }


def find_recipe(given: str) -> tuple[str, Path]:
    """Name and file of a recipe: one of the package's, with or without its folder, or a TOML file.

    Raises:
        UnknownName: there is no such recipe.
        BadInput: there is no such file, or the name without its folder stands for several.
    """
    if given.endswith(".toml"):
        path = Path(given)
        if not path.is_file():
            beside = [file.name for file in path.parent.glob("*.toml")] if path.parent.is_dir() else []
            guess = nearest(path.name, beside)
            raise BadInput(f"no recipe at {path}" + (f": did you mean {path.parent / guess}?" if guess else ""))
        return path.stem, path
    known = recipe_files()
    full = [name for name in known if given in (name, name.rpartition("/")[2])]
    if len(full) > 1:
        raise BadInput(f"recipe {given!r} is several: {', '.join(full)}; name one of them in full")
    if not full:
        short = {name.rpartition("/")[2]: name for name in known}
        raise UnknownName("recipe", given, list(known) if "/" in given else list(short))
    return full[0], known[full[0]]


def read_recipe_file(path: Path) -> RecipeSpec:
    """What a recipe's file says.

    Raises:
        UnknownName: it has a setting that recipes have not.
        BadInput: it is no TOML, or its settings are impossible or missing; all are listed.
    """
    content = read_toml(path, "give the file of a recipe; `seasoning recipes show linf-scratch` prints one")
    try:
        return read_spec(content, RecipeSpec)
    except UnknownName as error:
        raise BadInput(f"{path}: {error}") from error
    except BadInput as error:
        raise BadInput(f"{path}:\n{error}") from error


def asked_recipe(recipe: str, data: str | None, settings: Sequence[str], *, smoke: bool) -> tuple[str, RecipeSpec]:
    """The name of a recipe, and what it says with other images and settings applied.

    Raises:
        UnknownName, BadInput: there is no such recipe, or settings are unknown or impossible.
    """
    name, path = find_recipe(recipe)
    spec = read_recipe_file(path)
    if data is not None:
        # Not as a setting: those are TOML, where a path with quotes is something else.
        spec = spec.model_copy(update={"data": spec.data.model_copy(update={"source": data})})
    spec = resolve(settings, spec)
    return name, spec.shrunk() if smoke else spec


def heading(path: Path) -> str:
    """The first line of a recipe's comment."""
    first = next(iter(path.read_text(encoding="utf-8").splitlines()), "")
    return first.removeprefix("#").strip()
