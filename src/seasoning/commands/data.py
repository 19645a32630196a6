"""What several commands want of data: training images, the view that a model asks for, a network for some samples."""

from collections.abc import Mapping
from typing import Any

from timm.data import resolve_model_data_config

from seasoning.checkpoints.constants import Constants
from seasoning.data import SOURCES, Samples, load_source
from seasoning.data.decoding import Photo
from seasoning.data.sources import source_parts
from seasoning.models import PixelClassifier, build_model


__all__ = ["network_for", "training_images", "view_of"]


def training_images(data: str) -> Samples:
    """The training split of a known data set or of CIFAR, or a whole folder of images.

    Raises:
        As `load_source`.
    """
    return source_parts(data)["train"] if data in SOURCES else load_source(data, split="train")


def view_of(model: PixelClassifier) -> Photo:
    """The view of photographs that a model asks for, as timm keeps it with the architecture."""
    config = resolve_model_data_config(model.network)
    fixed = getattr(model.network, "pretrained_cfg", {}).get("fixed_input_size", False)
    size, mean = tuple(config["input_size"][1:]), tuple(config["mean"])
    return Photo(size, config["crop_pct"], config["interpolation"], config["crop_mode"], mean, fixed)


def network_for(
    architecture: str, samples: Samples, options: Mapping[str, Any] | None, constants: Constants | None
) -> PixelClassifier:
    """A network for samples that normalizes images as the ingredients say, or as is usual for the architecture."""
    told = {} if constants is None else constants._asdict()
    channels = samples.x.shape[1]
    return build_model(architecture, num_classes=samples.outputs, in_chans=channels, **told, **(options or {}))
