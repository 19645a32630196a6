"""Recipes: how one ingredient is trained, as a TOML file with a comment that says what it is for."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from seasoning.config.base import Count, Rate, Seed, Spec, read_spec
from seasoning.errors import BadInput, SeasoningError, UnknownName, nearest
from seasoning.threat import Threat


__all__ = ["RecipeSpec", "find_recipe", "heading", "read_recipe_file", "recipe_files"]

Share = Annotated[float, Field(ge=0, le=1)]
# A recipe of the wheel lies in the package, one of a clone in the repository's root.
_FOLDERS = (Path(__file__).parents[1] / "recipes", Path(__file__).parents[3] / "recipes")

# What stands for a network in a smoke run: the same kind, as small as it gets.
_SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "wide_resnet": ("wide_resnet", {"depth": 10, "widen": 1}),
    "preact_resnet18": ("preact_resnet18", {"width": 4}),
    "resnet_small": ("resnet_small", {"widths": (8, 8, 8)}),
}


class NetworkSpec(Spec):
    """The network."""

    architecture: str = Field(description="Name that timm knows, ours among them, or path/to/file.py:function.")
    options: dict[str, Any] = Field(default={}, description="Further arguments of the architecture.")
    mean: tuple[float, ...] | None = Field(default=None, description="Normalization, instead of the network's own.")
    std: tuple[float, ...] | None = Field(default=None, description="Normalization, instead of the network's own.")


class DataSpec(Spec):
    """Training images, and those of them that choose the checkpoint."""

    source: str = Field(description="Known data set, or folder with a folder of images for each class.")
    classes: Count = Field(description="Number of classes it must have.")
    shape: tuple[Count, Count, Count] = Field(description="Channels, height and width of its images.")
    validation: Count = Field(description="Images kept from training, drawn by the hash of their ids.")
    crop: Annotated[int, Field(ge=0)] = Field(default=0, description="Pixels of border that random crops are taken of.")
    flips: bool = Field(default=False, description="Whether half of the images are mirrored.")


class TrainingObjectiveSpec(Spec):
    """What is lowered."""

    name: str = Field(description="nominal, adversarial, max, sat, avg, eat or msd.")
    loss: Literal["ce", "trades"] = Field(default="ce", description="Loss at the attacked images.")
    beta: Rate = Field(default=6.0, description="Weight of the divergence in trades.")


class AttackSpec(Spec):
    """How images are attacked in training and validation."""

    steps: Count = Field(description="AutoPGD steps.")
    loss: Literal["ce", "kl"] = Field(default="ce", description="What the attack raises.")
    batch_norm: Literal["evaluation", "training"] = Field(
        default="evaluation", description="Mode of batch norm while attacking."
    )


class OptimizerSpec(Spec):
    """Stochastic gradient descent with momentum."""

    rate: Rate = Field(description="Peak learning rate.")
    batch_size: Count = Field(description="Images in a step.")
    momentum: Share = Field(description="Share of the last step that goes into the next one.")
    nesterov: bool = Field(default=False, description="Whether the gradient is taken where the momentum leads.")
    weight_decay: Annotated[float, Field(ge=0)] = Field(description="Added to the gradient, times the parameters.")
    clip: Rate | None = Field(default=None, description="Largest norm of a gradient.")
    accumulate: Count = Field(default=1, description="In how many parts a batch goes through the network.")
    precision: Literal["full", "bf16"] = Field(default="full", description="bf16 computes in bfloat16 where it may.")
    ema: Rate | None = Field(default=None, description="Decay of an average of the parameters.")
    ingredient: Literal["raw", "ema"] = Field(default="raw", description="Which parameters are validated and written.")


class ScheduleSpec(Spec):
    """The learning rate over time."""

    epochs: Count = Field(description="Times that every image is seen.")
    kind: Literal["cosine", "step"] = Field(description="Shape after the warm-up.")
    warmup: Share = Field(description="Share of the steps over which the rate rises.")
    milestones: tuple[Count, ...] = Field(default=(), description="Epochs after which a stepped rate falls.")
    factor: Share = Field(default=0.1, description="What it is multiplied by then.")


class RecipeSpec(Spec):
    """How one ingredient is trained."""

    starts: tuple[str, ...] = Field(default=(), description="Recipes that it may fine-tune; none starts at random.")
    threats: tuple[str, ...] = Field(default=(), description="What it becomes robust to; none is nominal training.")
    seed: Seed = Field(default=0, description="Seed of parameters, orders, crops and attacks.")
    smoke: bool = Field(default=False, description="Whether it only tries the machinery.")
    network: NetworkSpec
    data: DataSpec
    objective: TrainingObjectiveSpec
    attack: AttackSpec | None = None
    optimizer: OptimizerSpec
    schedule: ScheduleSpec

    @field_validator("threats")
    @classmethod
    def _readable(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(str(Threat.parse(text)) for text in texts)
        except SeasoningError as error:
            # Pydantic collects only ValueErrors.
            raise ValueError(str(error)) from error

    def shrunk(self) -> "RecipeSpec":
        """The same recipe with so small a network and so few images and steps that it takes seconds.

        Objective, losses, norms and radii of the attacks, rates and the shape of the schedule stay.
        """
        # A stepped schedule keeps its milestones in proportion.
        epochs = min(self.schedule.epochs, 4 if self.schedule.milestones else 2)
        scale = epochs / self.schedule.epochs
        schedule = self.schedule.model_copy(
            update={"epochs": epochs, "milestones": tuple(max(1, round(m * scale)) for m in self.schedule.milestones)}
        )
        kind = next((name for name in _SMALL if self.network.architecture.startswith(name)), "resnet_small")
        architecture, options = _SMALL[kind]
        network = self.network.model_copy(update={"architecture": architecture, "options": options})
        attack = self.attack and self.attack.model_copy(update={"steps": min(self.attack.steps, 2)})
        optimizer = self.optimizer.model_copy(update={"batch_size": 16 * min(self.optimizer.accumulate, 2)})
        optimizer = optimizer.model_copy(update={"accumulate": min(self.optimizer.accumulate, 2)})
        data = self.data.model_copy(update={"source": "made", "validation": 16})
        changes = {"network": network, "attack": attack, "optimizer": optimizer, "schedule": schedule, "data": data}
        return self.model_copy(update={"smoke": True, **changes})


def recipe_files() -> dict[str, Path]:
    """The recipes that come with the package, by names such as `"cifar10/linf-scratch"`."""
    root = next((folder for folder in _FOLDERS if folder.is_dir()), None)
    if root is None:
        return {}
    return {path.relative_to(root).with_suffix("").as_posix(): path for path in sorted(root.rglob("*.toml"))}


def find_recipe(given: str) -> tuple[str, Path]:
    """Name and file of a recipe: one of the package's, with or without its folder, or a TOML file.

    Raises:
        UnknownName: there is no such recipe.
        BadInput: there is no such file, or the name without its folder stands for several.
    """
    if given.endswith(".toml"):
        path = Path(given)
        if not path.is_file():
            beside = [each.name for each in path.parent.glob("*.toml")] if path.parent.is_dir() else []
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
    try:
        content: Mapping[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is no TOML ({error}): see `seasoning recipes show linf-scratch` for one") from error
    try:
        return read_spec(content, RecipeSpec)
    except UnknownName as error:
        raise BadInput(f"{path}: {error}") from error
    except BadInput as error:
        raise BadInput(f"{path}:\n{error}") from error


def heading(path: Path) -> str:
    """The first line of a recipe's comment."""
    first = next(iter(path.read_text(encoding="utf-8").splitlines()), "")
    return first.removeprefix("#").strip()
