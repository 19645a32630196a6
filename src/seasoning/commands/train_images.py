"""The images of `train`: those that are trained on and those that validate, the same on every machine."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from seasoning.checkpoints.images import Hashes
from seasoning.commands.data import seen_by, training_images
from seasoning.config.train import MADE, DataSpec, RecipeSpec
from seasoning.data import SOURCES, Samples, load_source, split_samples
from seasoning.data.decoding import Photo
from seasoning.data.photographs import Photographs, open_photographs
from seasoning.data.pixels import pixel_hashes
from seasoning.data.reading import usable_processors
from seasoning.data.sources import Used, source_parts, usual_parts
from seasoning.errors import BadInput, nearest
from seasoning.models import PixelClassifier


__all__ = ["Parts", "image_hashes", "source_name", "training_parts"]

_SMOKE_IMAGES = 64
# How photographs are seen in validation, as is usual: the middle of an image whose shorter side is 8/7 of the view's.
_CROP_PCT = 0.875


class Parts(NamedTuple):
    """The images of a training; none is in both parts."""

    validation: Samples
    train: Samples | Photographs

    def seen_by(self, model: PixelClassifier) -> "Parts":
        """The images with the channels that a model takes.

        Raises:
            BadInput: the model does not take such images.
        """
        if isinstance(self.train, Photographs) and model.channels == 1:
            raise BadInput("photographs are decoded in colour, and the network takes grey: leave out in_chans=1")
        train = seen_by(model, self.train) if isinstance(self.train, Samples) else self.train
        return Parts(seen_by(model, self.validation), train)


def training_parts(spec: RecipeSpec, together: int, named: Sequence[str] | None) -> Parts:
    """Training and validation images of a recipe.

    What fits into the memory in training does in validation, which takes them so many together.

    Args:
        spec: The recipe.
        together: Images that are validated at a time.
        named: The classes in the order of the logits, as the checkpoint that the training starts from says.

    Raises:
        BadInput: there are none, too few, or others than the recipe wants.
    """
    data = spec.data
    if data.source == MADE:
        samples = _made(data.classes, data.shape)
    elif data.source in SOURCES:
        return _known_parts(data, together)
    elif not Path(data.source).exists():
        raise BadInput(_missing(data, spec.augment.resized_crop is not None))
    elif spec.augment.resized_crop is not None:
        return _photographs(data, together, named)
    else:
        samples = training_images(data.source, named)
    _require_wanted(data, samples)
    _require_some_left(data, len(samples))
    # By the ids alone: a base and its fine-tune name the same images in different ways.
    nameless = replace(samples, name="images", batch_size=together)
    parts = split_samples(nameless, {"validation": data.validation, "train": len(samples) - data.validation})
    return Parts(**parts)


def image_hashes(spec: RecipeSpec, parts: Parts) -> dict[str, Hashes]:
    """Hashes of the pixels of all images of a training, by kind; photographs as they are seen in validation."""
    _, height, width = spec.data.shape
    workers = usable_processors() if spec.data.workers is None else spec.data.workers
    return {
        kind: pixel_hashes(samples.x)
        if isinstance(samples, Samples)
        else samples.pixel_hashes(Photo((height, width), _CROP_PCT, "bicubic"), workers)
        for kind, samples in (("training", parts.train), ("validation", parts.validation))
    }


def source_name(data: DataSpec) -> str:
    """What images are called in a file that others get: by no folders of this machine."""
    return data.source if data.source in SOURCES or data.source == MADE else Path(data.source).resolve().name


def _known_parts(data: DataSpec, together: int) -> Parts:
    """Parts of a known data set, of which others choose soups and test them."""
    samples = load_source(data.source)
    _require_wanted(data, samples)
    used = Used(data.train or usual_parts(data.source).train, data.validation)
    there = len(samples)
    if sum(used) > there:
        raise BadInput(
            f"{data.source}: data.train={used.train} and data.validation={used.validation} ask for more than its "
            f"{there} samples: set them lower"
        )
    known = source_parts(data.source, used)
    return Parts(*(replace(known[part], batch_size=together) for part in Parts._fields))


def _photographs(data: DataSpec, together: int, named: Sequence[str] | None) -> Parts:
    """Photographs that stay on the disk, and some of them in memory, as a model is validated on them."""
    photographs = open_photographs(data.source, "images", named)
    if photographs.classes != data.classes:
        raise BadInput(
            f"{data.source} has {photographs.classes} classes, the recipe wants {data.classes}: name another folder "
            "with --data, or set data.classes"
        )
    _require_some_left(data, len(photographs))
    sizes = {"validation": data.validation, "train": len(photographs) - data.validation}
    parts = split_samples(photographs, sizes)
    held_out = parts["validation"].decoded(Photo((data.shape[1], data.shape[2]), _CROP_PCT, "bicubic"))
    return Parts(replace(held_out, batch_size=together), parts["train"])


def _missing(data: DataSpec, photographs: bool) -> str:
    near = nearest(data.source, SOURCES)
    hint = f"did you mean {near!r}? Else " if near else ""
    if photographs:
        return (
            f"no training images at {data.source!r}: {hint}name with --data the folder that has {data.classes:,} "
            "folders in it, one for each class with its images, such as n01440764/n01440764_10026.JPEG of ImageNet's "
            "ILSVRC2012_img_train, or a tar archive of such folders"
        )
    return (
        f"no training images at {data.source!r}: {hint}name a folder that has a folder of images for each class, "
        f"or CIFAR in any of its forms, with --data, or a known data set ({', '.join(SOURCES)})"
    )


def _require_wanted(data: DataSpec, samples: Samples) -> None:
    shape = tuple(samples.x.shape[1:])
    if (samples.classes, shape) == (data.classes, data.shape):
        return
    given, wanted = (
        f"{classes} classes of images of {' x '.join(map(str, size))}"
        for classes, size in ((samples.classes, shape), (data.classes, data.shape))
    )
    raise BadInput(
        f"{data.source} has {given}, the recipe wants {wanted}: name another folder with --data, or set "
        "data.classes and data.shape"
    )


def _require_some_left(data: DataSpec, images: int) -> None:
    if data.validation >= images:
        raise BadInput(
            f"{data.source} has {images} images, data.validation={data.validation} of them would leave none to "
            "train on: set it lower"
        )


def _made(classes: int, shape: tuple[int, int, int]) -> Samples:
    """Images for smoke runs: one pattern for each class, under noise."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.rand(classes, *shape, generator=generator)
    y = torch.arange(_SMOKE_IMAGES) % classes
    x = (patterns[y] + 0.3 * torch.randn(len(y), *shape, generator=generator)).clamp(0, 1)
    return Samples("made", torch.arange(len(y)), x, y, classes)
