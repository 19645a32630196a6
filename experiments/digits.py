"""What the studies on the digits share: the demo's images, networks and trainings."""

from pathlib import Path

from seasoning import Samples, build_model, load_source, split_samples
from seasoning.checkpoints import State
from seasoning.commands.demo import DemoSpec
from seasoning.commands.train import run_recipe
from seasoning.config import RecipeSpec
from seasoning.models import PixelClassifier


def digits_parts(spec: DemoSpec) -> dict[str, Samples]:
    """Training, validation, selection and test images, as the demo divides them."""
    data, samples = spec.recipes["linf"].data, load_source("digits")
    if data.train is None:
        raise ValueError("the recipe does not say how many images it trains on: set recipe.data.train")
    sizes = {"train": data.train, "validation": data.validation, "selection": spec.plan.shots}
    test = spec.plan.others or len(samples) - sum(sizes.values())
    return split_samples(samples, {**sizes, "test": test})


def network(recipe: RecipeSpec, state: State | None = None) -> PixelClassifier:
    """The network of a recipe, with some parameters or at random ones."""
    return build_model(
        recipe.network.architecture,
        num_classes=recipe.data.classes,
        in_chans=recipe.data.shape[0],
        state=state,
        **recipe.network.options,
    )


def trained(spec: DemoSpec, name: str, folder: Path, init: Path | None = None) -> Path:
    """The file of the best checkpoint of one of the demo's trainings; a training that was cut off goes on.

    Args:
        spec: The demo with its four recipes.
        name: Of the recipe, such as `"linf"`.
        folder: Of the training.
        init: The checkpoint to fine-tune.
    """
    recipe = spec.recipes[name]
    return run_recipe(f"digits/{name}", recipe, folder, init=init, resume=True, device="cpu", trackers=())
