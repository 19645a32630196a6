"""What several commands want of data and models: training images, a network for some data, images as it sees them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from timm.data import resolve_model_data_config
from torch import Tensor

from seasoning.checkpoints.constants import Constants
from seasoning.checkpoints.hub import PREFIXES
from seasoning.checkpoints.load import State
from seasoning.data import SOURCES, Samples, load_source
from seasoning.data.decoding import Photo
from seasoning.data.sources import source_parts
from seasoning.errors import BadInput
from seasoning.models import PixelClassifier, build_model
from seasoning.models.from_file import is_file_name
from seasoning.models.probe import require_takes


__all__ = ["build_for", "in_grey", "network_for", "seen_by", "speaks_of", "training_images", "view_of"]

_COLOURS = 3
# Luminance of red, green and blue in 2^16ths, as Pillow has it; they sum to 1, so that grey stays the same grey.
_LUMINANCE = (19595, 38470, 7471)
_TOGETHER = 1000  # images that are turned grey at a time


def speaks_of(source: str | Path, architecture: str) -> bool:
    """Whether what a checkpoint says of normalization is meant for the network.

    Published constants are timm's for a network of timm; one from a file does with its images what it does.
    """
    return not (is_file_name(architecture) and str(source).startswith(PREFIXES))


def training_images(data: str, carried: Sequence[str] | None) -> Samples:
    """The training split of a known data set or of CIFAR, or a whole folder of images.

    Args:
        data: Its name or place.
        carried: The classes in the order of the logits, as the checkpoints that see the images say.

    Raises:
        As `load_source`.
    """
    return source_parts(data)["train"] if data in SOURCES else load_source(data, split="train", carried=carried)


def view_of(model: PixelClassifier) -> Photo:
    """The view of photographs that a model asks for, as timm keeps it with the architecture; the model has the size."""
    config = resolve_model_data_config(model.network)
    fixed = getattr(model.network, "pretrained_cfg", {}).get("fixed_input_size", False) and not model.any_size
    size, mean = model.image_size or tuple(config["input_size"][1:]), tuple(config["mean"])
    return Photo(size, config["crop_pct"], config["interpolation"], config["crop_mode"], mean, fixed)


def build_for(
    architecture: str,
    options: Mapping[str, Any] | None,
    *,
    outputs: int,
    channels: int,
    state: State | None = None,
    constants: Constants | None = None,
) -> PixelClassifier:
    """A network for data of so many classes and channels.

    Args:
        architecture: What `build_model` takes.
        options: Further arguments of the architecture. `in_chans=1` takes images in colour, which are turned grey (see
            `seen_by`); `num_classes` may repeat what the data say.
        outputs: Logits that the data want.
        channels: Of the images.
        state: Parameters and buffers.
        constants: By what images are normalized, where it is known.

    Raises:
        BadInput: options that the data contradict; and as `build_model`.
    """
    given = dict(options or {})
    wanted, taken = given.pop("num_classes", outputs), given.pop("in_chans", channels)
    if wanted != outputs:
        raise BadInput(
            f"num_classes={wanted} of the architecture, and the data have {outputs} classes: leave the option out, or "
            "name the classes of the model"
        )
    if taken != channels and (taken, channels) != (1, _COLOURS):
        raise BadInput(f"in_chans={taken} of the architecture, and the images have {channels}: leave the option out")
    known = {} if constants is None else constants._asdict()
    return build_model(architecture, num_classes=outputs, in_chans=taken, state=state, **known, **given)


def network_for(
    architecture: str, samples: Samples, options: Mapping[str, Any] | None, constants: Constants | None
) -> tuple[PixelClassifier, Samples]:
    """A network for samples, and the samples as it sees them.

    It normalizes images as the ingredients say, or as is usual for the architecture.

    Raises:
        As `build_for` and `seen_by`.
    """
    channels = samples.x.shape[1]
    model = build_for(architecture, options, outputs=samples.outputs, channels=channels, constants=constants)
    return model, seen_by(model, samples)


def seen_by(model: PixelClassifier, samples: Samples) -> Samples:
    """Samples with the channels that a model takes: those in colour are turned grey for one that takes grey.

    Raises:
        BadInput: the model does not take such images.
    """
    if model.channels == 1 and samples.x.shape[1] == _COLOURS:
        samples = in_grey(samples)
    require_takes(model, samples.images(slice(0, 1)), "the network", "bring them to its size, or choose another")
    return samples


def in_grey(samples: Samples) -> Samples:
    """Samples in one channel, their luminance; what is grey in three keeps its values."""
    return replace(samples, x=torch.cat([_grey(part) for part in samples.x.split(_TOGETHER)]))


def _grey(x: Tensor) -> Tensor:
    """The luminance of images `(N, 3, H, W)`, as `(N, 1, H, W)` of their type."""
    weights = torch.tensor(_LUMINANCE).view(1, -1, 1, 1)
    if x.is_floating_point():
        return (x * (weights / 2**16).to(x.dtype)).sum(1, keepdim=True)
    return ((x.to(torch.int32) * weights.to(torch.int32)).sum(1, keepdim=True) + 2**15 >> 16).to(x.dtype)
