"""`check`: can these checkpoints be mixed? From their parameters alone, or with the losses of soups between them."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from seasoning.checkpoints.load import State, load_ingredient
from seasoning.checkpoints.provenance import constants_of
from seasoning.commands.data import network_for, training_images
from seasoning.data import Samples
from seasoning.data.labels import mapped
from seasoning.errors import BadInput
from seasoning.models import PixelClassifier
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
    states, names = [load_ingredient(path) for path in paths], [str(path) for path in paths]
    constants = [constants_of([path]) for path in paths]
    loss = None
    if architecture is not None and data is not None:
        samples = training_images(data)
        rows = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))[:_IMAGES]
        agreed = next((each for each in constants if each is not None), None)
        loss = partial(_mean_loss, network_for(architecture, samples, options, agreed), samples.take(rows, "few"))
    return check_mixable(states, loss, names, constants, None if base is None else load_ingredient(base))


def _mean_loss(model: PixelClassifier, samples: Samples, state: State) -> float:
    model.load(state)
    with torch.no_grad():
        return float(functional.cross_entropy(mapped(model, samples.label_map)(samples.images(slice(None))), samples.y))
