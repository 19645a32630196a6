"""What a run cost in passes, and what one joint training for each trade-off would cost instead."""

from typing import NamedTuple

from seasoning.report.results import Results
from seasoning.report.tables import Grid
from seasoning.task import Task


__all__ = ["Spent", "cost_tables", "joint_training", "spent"]

_UNKNOWN = "not recorded"
_TRADE_OFFS = (1, 3, 10)
_STAGES = {"selection": "searching soups", "test": "measuring the chosen models"}


class Spent(NamedTuple):
    """Passes of images through a model with a gradient and in all, and seconds."""

    gradients: int
    forwards: int
    seconds: float


def spent(results: Results) -> dict[str, Spent]:
    """What every stage of measuring cost, by split of the data; screening is part of the search."""
    found = dict.fromkeys(_STAGES, Spent(0, 0, 0.0))
    parts: dict[str, str | None] = {}
    for asked, header in results.blocks:
        if asked.data not in parts:
            parts[asked.data] = Task.parse(asked.data).part
        part = parts[asked.data]
        if part in found:
            one = found[part]
            found[part] = Spent(
                one.gradients + header["gradients"],
                one.forwards + header["forwards"],
                one.seconds + header["seconds"],
            )
    return found


def joint_training(results: Results) -> int | None:
    """Gradients of one training on all threats at once (MAX), estimated as those of all robust fine-tunes together.

    Each of its steps attacks under every threat, as each fine-tune's does under its own. `None` where the trainings
    were not counted.
    """
    robust = [ingredient.gradients for ingredient in results.ingredients[1:] if ingredient.threat is not None]
    known = [gradients for gradients in robust if gradients is not None]
    if not known or len(known) < len(robust):
        return None
    # The first ingredient is the base that a joint training starts from, too; its own threat is attacked as well.
    return sum(known) + max(known)


def cost_tables(results: Results) -> list[Grid]:
    """Passes by stage; and, where trainings were counted, soups against joint trainings for several trade-offs."""
    stages = spent(results)
    rows = [
        [f"training {ingredient.name}", _count(ingredient.gradients), _UNKNOWN, _UNKNOWN]
        for ingredient in results.ingredients
    ]
    for part, doing in _STAGES.items():
        one = stages[part]
        rows.append([doing, _count(one.gradients), _count(one.forwards), f"{one.seconds:,.0f}"])
    note = "Images through a model: with a gradient, and in all. Seconds are those of the machines that measured."
    grids = [Grid("Cost", note, ["stage", "gradients", "forwards", "seconds"], rows, "cost")]
    trained, joint = [ingredient.gradients for ingredient in results.ingredients], joint_training(results)
    known = [gradients for gradients in trained if gradients is not None]
    if joint is None or len(known) < len(trained):
        return grids
    once = sum(known) + stages["selection"].gradients
    rows = [
        [str(count), f"{once:,}", f"{known[0] + count * joint:,}", f"{(known[0] + count * joint) / once:.2f}"]
        for count in _TRADE_OFFS
    ]
    note = (
        "Gradients to have so many models, each with another balance between the threats. Soups: the trainings and the "
        "search once. Joint (estimated): the base, then for each balance one fine-tune on all threats at once, as long "
        "as those of the ingredients. Final measurements are left out on both sides."
    )
    columns = ["trade-offs", "soups", "joint trainings", "ratio"]
    return [*grids, Grid("Soups against joint training", note, columns, rows, "cost-joint")]


def _count(number: int | None) -> str:
    return _UNKNOWN if number is None else f"{number:,}"
