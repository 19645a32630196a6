"""The verbs for checkpoints on disk: mix them into a soup, and say beforehand whether that makes sense."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from seasoning.calibration import calibrate
from seasoning.checkpoint import State, fingerprint, load_ingredient, save_state
from seasoning.data import Samples
from seasoning.errors import BadInput
from seasoning.ingredients import training_images
from seasoning.models import Classifier, build_model
from seasoning.soup import MixReport, check_mixable, mix, mix_files, soup_metadata
from seasoning.soup.buffers import require_policy
from seasoning.soup.mix import MEASURED
from seasoning.soup.recipe import Constants, constants_of
from seasoning.threat import Threat


__all__ = ["check_checkpoints", "make_soup"]

# Images that a loss barrier is measured on; a ridge is nats high, so few suffice.
_IMAGES = 200


def make_soup(
    paths: Sequence[Path],
    weights: Sequence[float],
    out: Path,
    *,
    policy: str = "mix",
    architecture: str | None = None,
    options: Mapping[str, Any] | None = None,
    data: str | None = None,
    threats: Sequence[Threat] = (),
    seed: int = 0,
) -> Path:
    """Mix checkpoints into one file; its batch-norm statistics are mixed, or measured anew on training images.

    Args:
        paths: Checkpoints; only read.
        weights: One number for each, of sum 1.
        out: The soup's file, which must not be there yet.
        policy: A key of `seasoning.soup.buffers.POLICIES`. `"clean"` and `"attacked"` want an architecture and data.
        architecture: What `build_model` takes.
        options: Further arguments of the architecture.
        data: Training images: a known data set, whose training split is taken, or a folder.
        threats: For `"attacked"`: the batches are attacked under one of them in turn.
        seed: Seed of the attacks' random starts.

    Returns:
        `out`.

    Raises:
        UnknownName: no such policy, architecture or data set.
        BadInput: what the policy wants is missing, or something is given that it does not take; and as `mix_files`.
        Mismatch: the checkpoints do not fit together, or not the architecture.
    """
    require_policy(policy)
    if (policy == "attacked") != bool(threats):
        raise BadInput(f"policy {policy!r} with {len(threats)} threats: threats go with 'attacked', at least one")
    if policy not in MEASURED:
        if architecture is not None or data is not None:
            raise BadInput(f"policy {policy!r} takes no architecture and no data: they go with 'clean' and 'attacked'")
        return mix_files(paths, weights, out, policy=policy)
    if architecture is None or data is None:
        raise BadInput(f"policy {policy!r} measures statistics on images: give the architecture and training images")
    if out.exists():
        raise BadInput(f"{out} exists: choose another name for the soup, or remove it first")
    states, names = [load_ingredient(path) for path in paths], [str(path) for path in paths]
    # The statistics are replaced; those mixed here only freeze the network that attacks climb.
    mixed = mix(states, weights, policy="geometric", names=names)
    samples = training_images(data)
    constants = constants_of(paths)
    model = _built(architecture, samples, options, constants)
    model.load(mixed)
    calibrate(model, samples, threats, seed=seed)
    marks = [fingerprint(state) for state in states]
    save_state(model.network.state_dict(), out, soup_metadata(marks, weights, policy=policy, constants=constants))
    return out


def check_checkpoints(
    paths: Sequence[Path],
    *,
    base: Path | None = None,
    architecture: str | None = None,
    options: Mapping[str, Any] | None = None,
    data: str | None = None,
) -> MixReport:
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
        loss = partial(_mean_loss, _built(architecture, samples, options, agreed), samples.take(rows, "few"))
    return check_mixable(states, loss, names, constants, None if base is None else load_ingredient(base))


def _built(
    architecture: str, samples: Samples, options: Mapping[str, Any] | None, constants: Constants | None
) -> Classifier:
    """A network that normalizes images as the ingredients say, or as is usual for the architecture."""
    told = {} if constants is None else constants._asdict()
    channels = samples.x.shape[1]
    return build_model(architecture, num_classes=samples.classes, in_chans=channels, **told, **(options or {}))


def _mean_loss(model: Classifier, samples: Samples, state: State) -> float:
    model.load(state)
    with torch.no_grad():
        return float(functional.cross_entropy(model(samples.x), samples.y))
