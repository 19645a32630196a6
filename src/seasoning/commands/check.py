"""`check`: can these checkpoints be mixed? From their parameters alone, or with the losses of soups between them."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from seasoning.checkpoints.ingredients import load_ingredients
from seasoning.checkpoints.load import State
from seasoning.commands.data import network_for, training_images
from seasoning.data import Samples
from seasoning.data.labels import mapped
from seasoning.errors import BadInput, Mismatch
from seasoning.models import PixelClassifier, require_architecture
from seasoning.soup import Mixability, check_mixable


__all__ = ["check_checkpoints"]

# Images that a loss barrier is measured on; a ridge is nats high, so few suffice.
_IMAGES = 200


def check_checkpoints(
    paths: Sequence[Path],
    *,
    base: Path | None = None,
    architecture: str | None = None,
    options: Mapping[str, Any] | None = None,
    data: str | None = None,
) -> Mixability:
    """Whether checkpoints can be mixed, from their parameters and, with data, from the losses of soups between them.

    Args:
        paths: Checkpoints, at least two.
        base: The checkpoint that all were fine-tuned from, where it is at hand.
        architecture: What `build_model` takes; needed with data.
        options: Further arguments of the architecture.
        data: A known data set, whose training split is taken, or a folder; 200 images of it serve.

    Raises:
        BadInput: data without an architecture or the reverse; and as `check_mixable`.
    """
    if (architecture is None) != (data is None):
        raise BadInput("the loss between checkpoints wants both an architecture and data: give both, or neither")
    if architecture is not None:
        require_architecture(architecture, options)
    everyone = load_ingredients([*paths, *([] if base is None else [base])])
    ingredients = everyone.first(len(paths))
    found = partial(
        check_mixable,
        ingredients.states,
        names=ingredients.names,
        constants=ingredients.constants,
        classes=ingredients.classes,
        base=None if base is None else everyone.states[-1],
    )
    if architecture is None or data is None:
        return found()
    try:
        constants, classes = ingredients.agreed(), ingredients.agreed_classes()
    except Mismatch:
        return found()  # which says so
    network, samples = network_for(architecture, training_images(data, classes), options, constants)
    rows = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))[:_IMAGES]
    return found(loss=partial(_mean_loss, network, samples.take(rows, "few")))


def _mean_loss(model: PixelClassifier, samples: Samples, state: State) -> float:
    model.load(state)
    with torch.no_grad():
        return float(functional.cross_entropy(mapped(model, samples.label_map)(samples.images(slice(None))), samples.y))
