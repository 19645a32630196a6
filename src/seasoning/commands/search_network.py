"""What a search cooks with: its ingredients, looked at, and the live model that becomes one soup after another."""

from collections.abc import Callable, Sequence
from pathlib import Path

from seasoning.checkpoints.load import State, load_ingredient
from seasoning.checkpoints.provenance import constants_of
from seasoning.commands.search_data import Sets, Task
from seasoning.config.search import SearchPlan, points_of
from seasoning.errors import BadInput
from seasoning.evaluation.live_soup import LiveSoup
from seasoning.models import PixelClassifier, build_model
from seasoning.models.probe import pick_device, require_takes
from seasoning.soup import check_mixable
from seasoning.soup.mix import is_variance


__all__ = ["ingredients_of", "model_of", "resident_of"]


def ingredients_of(plan: SearchPlan, say: Callable[[str], None]) -> list[State]:
    """The parameters of the ingredients, after a look at whether they can be mixed at all.

    Raises:
        BadInput: a file is not there, the ingredients do not mix, or weights below 0 spoil running variances.
    """
    paths, names = list(plan.ingredients.values()), list(plan.ingredients)
    for path in paths:
        if not Path(path).exists():
            raise BadInput(f"ingredient {path} is not there: give the file of a checkpoint")
    states: list[State] = [dict(load_ingredient(path)) for path in paths]
    report = check_mixable(states, names=names, constants=[constants_of([path]) for path in paths])
    if not report.mixable:
        raise BadInput(f"these ingredients cannot be searched: {report.verdict}")
    if report.verdict != "mix":
        say(f"warning: {report.verdict}")
    negative = any(weight < 0 for weights in points_of(plan) for weight in weights)
    if negative and plan.batch_norm == "mix" and any(is_variance(name) for name in states[0]):
        raise BadInput(
            "the space has weights below 0, which can make a running variance negative: set batch_norm = 'geometric'"
        )
    return states


def model_of(plan: SearchPlan, state: State, sets: Sets) -> PixelClassifier:
    """The network of a plan for its data, as the first ingredient.

    Raises:
        UnknownName: no such architecture.
        Mismatch: the ingredient does not fit it.
    """
    return build_model(
        plan.architecture,
        num_classes=len(sets.classes),
        in_chans=sets.channels,
        state=state,
        mean=plan.mean,
        std=plan.std,
        **plan.options,
    )


def resident_of(plan: SearchPlan, model: PixelClassifier, states: Sequence[State], tasks: dict[str, Task]) -> LiveSoup:
    """The live model, on the device that there is.

    Raises:
        BadInput: it does not take the images.
        Mismatch: an ingredient does not fit it.
    """
    for samples in {task.selection.samples.x.shape[1:]: task.selection.samples for task in tasks.values()}.values():
        require_takes(model, samples.images(slice(0, 1)), plan.architecture, "bring the images to its size")
    live = LiveSoup(model, states, list(plan.ingredients), plan.batch_norm)
    model.to(pick_device(None))
    return live
