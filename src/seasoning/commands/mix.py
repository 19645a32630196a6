"""`mix`: checkpoints on disk into one soup, its batch-norm statistics mixed or measured anew."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from seasoning.checkpoints.fingerprints import fingerprint
from seasoning.checkpoints.images import ImageSet, UsedImages, images_metadata, soup_images, used_images
from seasoning.checkpoints.ingredients import load_ingredients
from seasoning.checkpoints.provenance import soup_metadata
from seasoning.checkpoints.save import save_state
from seasoning.commands.data import network_for, training_images
from seasoning.commands.overlap import known_images, overlaps, require_some, used_among
from seasoning.data import Samples
from seasoning.data.pixels import pixel_hashes
from seasoning.errors import BadInput
from seasoning.evaluation.recalibrate import calibrate
from seasoning.models import require_architecture
from seasoning.soup.batch_norm import require_policy
from seasoning.soup.mix import MEASURED, mix
from seasoning.soup.mix_files import mix_files
from seasoning.threat import Threat


__all__ = ["make_soup"]


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
    leave_out_training_images: bool = False,
    say: Callable[[str], None] = lambda note: None,
) -> Path:
    """Mix checkpoints into one file; its batch-norm statistics are mixed, or measured anew on training images.

    Args:
        paths: Checkpoints; only read.
        weights: One number for each, of sum 1.
        out: The soup's file, which must not be there yet.
        policy: A key of `seasoning.soup.batch_norm.POLICIES`. `"clean"` and `"attacked"` want an architecture and data.
        architecture: What `build_model` takes.
        options: Further arguments of the architecture.
        data: Training images: a known data set, whose training split is taken, or a folder.
        threats: For `"attacked"`: the batches are attacked under one of them in turn.
        seed: Seed of the attacks' random starts.
        leave_out_training_images: Whether statistics are measured without the images that made an ingredient, as its
            file lists them.
        say: Told how many of the images made which ingredients.

    Returns:
        `out`.

    Raises:
        UnknownName: no such policy, architecture or data set.
        BadInput: what the policy wants is missing, or something is given that it does not take; no images are left, or
            an ingredient lists only a sample of those to leave out; and as `mix_files`.
        Mismatch: the checkpoints do not fit together, or not the architecture.
    """
    require_policy(policy)
    if (policy == "attacked") != bool(threats):
        raise BadInput(f"policy {policy!r} with {len(threats)} threats: threats go with 'attacked', at least one")
    if policy not in MEASURED:
        if architecture is not None or data is not None or leave_out_training_images:
            raise BadInput(
                f"policy {policy!r} takes no architecture and no data, and leaves no images out: these go with 'clean' "
                "and 'attacked'"
            )
        return mix_files(paths, weights, out, policy=policy)
    if architecture is None or data is None:
        raise BadInput(f"policy {policy!r} measures statistics on images: give the architecture and training images")
    require_architecture(architecture, options)
    if out.exists():
        raise BadInput(f"{out} exists: choose another name for the soup, or remove it first")
    used = {str(path): path for path, weight in zip(paths, weights, strict=True) if weight != 0}
    known = known_images(used, leave_out=leave_out_training_images, say=say)
    ingredients = load_ingredients(paths)
    constants, classes = ingredients.agreed(), ingredients.agreed_classes()
    # The statistics are replaced; those mixed here only freeze the network that attacks climb.
    mixed = mix(ingredients.states, weights, policy="geometric", names=ingredients.names)
    images = _looked_at(training_images(data, classes), known, leave_out_training_images, say)
    model, samples = network_for(architecture, images, options, constants)
    model.load(mixed)
    calibrate(model, samples, threats, seed=seed)
    marks = [fingerprint(checkpoint) for checkpoint in ingredients.checkpoints]
    # Its statistics are right for images that are normalized as they were here, whatever gave the constants.
    metadata = soup_metadata(marks, weights, policy=policy, constants=model.constants, classes=classes)
    sets = [ImageSet(images.name, images.fingerprint())]
    measured_on = used_images({"training": pixel_hashes(images.x)}, sets)
    metadata |= images_metadata(soup_images(paths, weights, measured_on))
    save_state(model.network.state_dict(), out, metadata)
    return out


def _looked_at(
    images: Samples, known: Mapping[str, UsedImages], leave_out: bool, say: Callable[[str], None]
) -> Samples:
    """Images to measure statistics on, after a look at which of them made the ingredients; without these, if asked."""
    hashes = pixel_hashes(images.x)
    if not leave_out:
        for overlap in overlaps(images.name, hashes, known):
            say(
                f"warning: {overlap} (training images are what batch norm is meant to be measured on; no accuracy on "
                "any of these is held out)"
            )
        return images
    kept = ~used_among(hashes, known)
    require_some(int(kept.sum()), images.name, len(images))
    say(f"{images.name}: {int((~kept).sum()):,} of {len(images):,} images made the ingredients and are left out")
    return images.take(torch.from_numpy(kept), images.name)
