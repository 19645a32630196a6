"""The images of a training, part by part: from memory, or decoded in processes that work ahead."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from seasoning.data.decoding import decode
from seasoning.data.photographs import Photographs, picture
from seasoning.data.reading import usable_processors
from seasoning.data.samples import Samples
from seasoning.errors import BadInput
from seasoning.noise import USES, derived_seed, use_seed
from seasoning.training.augment import PhotoView, crop_and_flip
from seasoning.training.optimization import Settings


__all__ = ["Part", "feed"]

_MOST_WORKERS = 16


class Part(NamedTuple):
    """Some of the images of a step: their rows, the seed of the first of them, and what their mean loss counts for."""

    rows: Tensor
    seed: int
    weight: float


def feed(
    samples: Samples | Photographs, parts: Sequence[Part], settings: Settings, epoch_seed: int, *, pinned: bool
) -> Iterator[Tensor]:
    """Images of one part after the other, `(B, C, H, W)` in [0, 1], as they are trained on.

    The view of a photograph derives from its id and the epoch alone, whatever part it is in.

    Args:
        samples: Where they come from.
        parts: What is asked for, in this order.
        settings: With crops, flips, or the view of photographs.
        epoch_seed: The seed of the epoch.
        pinned: Whether the images come in memory that is fast to copy from.

    Raises:
        BadInput: an image is damaged.
    """
    if isinstance(samples, Samples) and settings.view is None:
        yield from (_cropped(samples, part, settings) for part in parts)
        return
    if settings.view is None:
        raise BadInput("photographs of any size without a view: give settings.view")
    # Trainings that were launched together on this machine share its processors.
    mine = max(usable_processors() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)
    default = min(mine, _MOST_WORKERS) if isinstance(samples, Photographs) else 0
    asked = (_with_seeds(samples, part.rows, epoch_seed) for part in parts)
    loader = DataLoader(
        _Views(samples, settings.view),
        batch_sampler=asked,  # any rows in any order, with their seeds
        num_workers=default if settings.workers is None else settings.workers,
        collate_fn=_together,
        pin_memory=pinned,
        generator=torch.Generator(),  # torch's own stays as it is
    )
    for images in loader:
        if isinstance(images, str):
            raise BadInput(f"a training image cannot be read: {images}: copy it again, or remove it")
        yield images.float() / 255


def _with_seeds(samples: Samples | Photographs, rows: Tensor, epoch_seed: int) -> list[tuple[int, int]]:
    seeds = (derived_seed(epoch_seed, each) for each in samples.ids[rows].tolist())
    return list(zip(rows.tolist(), seeds, strict=True))


def _cropped(samples: Samples, part: Part, settings: Settings) -> Tensor:
    seed = use_seed(part.seed, USES["crops"])
    return crop_and_flip(samples.images(part.rows), settings.crop, settings.flips, seed)


class _Views(Dataset[Any]):
    def __init__(self, samples: Samples | Photographs, view: PhotoView) -> None:
        self._samples, self._view = samples, view

    def __getitem__(self, asked: tuple[int, int]) -> Tensor | str:
        row, seed = asked
        if isinstance(self._samples, Samples):
            return self._view(picture(self._samples, row), seed)
        try:
            return decode(self._samples.files[row], partial(self._view, seed=seed))
        except BadInput as error:
            return str(error)


def _together(images: Sequence[Tensor | str]) -> Tensor | str:
    damaged = next((image for image in images if isinstance(image, str)), None)
    return torch.stack([image for image in images if isinstance(image, Tensor)]) if damaged is None else damaged
