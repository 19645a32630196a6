"""From a name to a classifier of images in [0, 1]."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from seasoning.checkpoints.constants import Constants, sound
from seasoning.checkpoints.load import State
from seasoning.errors import BadInput, Mismatch, SeasoningError, UnknownName
from seasoning.models import resnet  # noqa: F401  registers our networks with timm
from seasoning.models.from_file import is_file_name, network_from_file, require_file
from seasoning.models.key_maps import carried_normalization, fitted
from seasoning.models.outputs import logits_in


__all__ = ["PixelClassifier", "build_model", "require_architecture"]

_log = logging.getLogger(__name__)


class PixelClassifier(nn.Module):
    """A network behind its normalization: images in [0, 1] to logits.

    The constants are no part of the state, so `network.state_dict()` has the architecture's own names. What
    `build_model` knows is kept: the number of `classes`, and of the images the constants that it was `given`, their
    `channels`, their `image_size` (height and width, where it was given or the network says it), and whether the
    network takes `any_size`.

    Args:
        network: Normalized images to logits.
        mean: Mean of each channel, in units of pixels in [0, 1]; one number serves every channel.
        std: Standard deviation of each channel.
        code: What the network is known by apart from its parameters, where it comes from somebody's file.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...], code: str = "") -> None:
        super().__init__()
        self.network, self.code = network, code
        self.classes: int | None = None
        self.channels: int | None = None
        self.image_size: tuple[int, int] | None = None
        self.any_size = False
        self._built_with = Constants(mean, std)
        self.given: Constants | None = None
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Images `(B, C, H, W)` in [0, 1] to logits `(B, K)` of their type.

        Raises:
            BadInput: the network returns something that no logits are clearly in.
        """
        return logits_in(self.network((x - self.mean) / self.std), x, self.classes)

    @property
    def constants(self) -> Constants:
        """By what images are normalized."""
        return Constants(tuple(self.mean.flatten().tolist()), tuple(self.std.flatten().tolist()))

    def load(self, state: State) -> None:
        """Take over parameters and buffers, under the network's names or those in `key_maps`.

        Normalization constants that the checkpoint holds replace the classifier's; a checkpoint without any brings back
        those it was built with.

        Raises:
            Mismatch: they do not fit the architecture; the first differing tensor is named with both shapes.
        """
        constants = carried_normalization(state, self.network, self.given)
        tensors = fitted(state, self.network)
        self._normalize_by(constants or self._built_with)
        if constants is not None:
            _log.info("normalizing as the checkpoint says: mean %s, std %s", *map(list, constants))
        self.network.load_state_dict(tensors)

    def _normalize_by(self, constants: Constants) -> None:
        channels = self.mean.numel()
        counts = {len(values) for values in constants}
        # One number is what a network from a file starts with, whatever its channels.
        if channels != 1 and not counts <= {1, channels}:
            raise Mismatch(f"the checkpoint normalizes {max(counts)} channels, the architecture takes {channels}")
        for which, values in zip(Constants._fields, constants, strict=True):
            now = getattr(self, which)
            setattr(self, which, torch.tensor(values, dtype=torch.float64).to(now).view(1, -1, 1, 1))


def build_model(
    name: str,
    *,
    num_classes: int,
    state: State | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    **options: Any,
) -> PixelClassifier:
    """A classifier on [0, 1] pixels, in evaluation mode.

    Args:
        name: An architecture that timm knows; ours are among them (`"resnet_small"`, `"preact_resnet18"`,
            `"wide_resnet_28_10"`, `"wide_resnet"`). Or `"path/to/file.py:function"`: the file is imported, which runs
            it, and the function called with `num_classes` and the options. It returns an `nn.Module` that takes images
            in [0, 1]: no normalization is added.
        num_classes: Number of logits.
        state: Parameters and buffers, under the network's names or those that `key_maps` knows; without it the network
            is initialized at random.
        mean: Mean of each channel that is subtracted from images in [0, 1]; by default that of the architecture.
            Many robust checkpoints take the pixels as they are: `mean=(0,)`, `std=(1,)`.
        std: Standard deviation of each channel; by default that of the architecture.
        options: Further arguments of the architecture, such as `in_chans=1`.

    Raises:
        UnknownName: no such architecture, or no such function in the file.
        BadInput: the architecture does not take an option, the file or its function is of no use, or the normalization
            is impossible.
        Mismatch: `state` does not fit, or was trained with another normalization than the one given.
    """
    if is_file_name(name):
        network, code = network_from_file(name, num_classes, options)
        model = PixelClassifier(network, *_chosen((0.0,), (1.0,), mean, std, None), code)
    else:
        network = _from_timm(name, num_classes, options)
        own = _normalization(network, options.get("in_chans"))
        model = PixelClassifier(network, *_chosen(*own, mean, std, len(own[0])))
    if mean is not None and std is not None:
        model.given = model.constants
    model.classes, model.channels = num_classes, options.get("in_chans")
    model.image_size, model.any_size = _image_size(model.network, options.get("img_size"))
    model.eval()
    if state is None:
        return model
    before = {"mean": model.mean, "std": model.std}
    model.load(state)
    for which, given in (("mean", mean), ("std", std)):
        now, wanted = getattr(model, which), before[which]
        if given is not None and not torch.allclose(now, wanted):
            held = f"{now.flatten().tolist()}, not {wanted.flatten().tolist()}"
            raise Mismatch(f"the checkpoint was trained with normalization {which} {held}: leave the option out")
    return model


def require_architecture(name: str, options: Mapping[str, Any] | None = None) -> None:
    """Refuse an architecture that there is not, or an option that it does not take, before any other work.

    Args:
        name: As for `build_model`; of a file only that it is there.
        options: Further arguments of the architecture.

    Raises:
        UnknownName: no such architecture.
        BadInput: no such file, or the architecture does not take an option.
    """
    if is_file_name(name):
        require_file(name)
        return
    given = {"num_classes": 2, **(options or {})}
    try:
        # Tensors without memory: only the arguments are tried.
        with torch.device("meta"):
            _from_timm(name, given.pop("num_classes"), given)
    except BadInput as error:
        # What else fails so may be right with memory; building it will tell.
        if isinstance(error.__cause__, (TypeError, type(None))):
            raise


def _from_timm(name: str, num_classes: int, options: dict[str, Any]) -> nn.Module:
    if not timm.is_model(name):
        raise UnknownName("architecture", name, timm.list_models())
    try:
        network: nn.Module = timm.create_model(name, num_classes=num_classes, **options)
    except SeasoningError:
        raise
    # What impossible options make of somebody else's code is not to be foretold.
    except Exception as error:
        raise BadInput(f"architecture {name!r} with options {sorted(options)}: {error}") from error
    return network


def _image_size(network: nn.Module, given: Any) -> tuple[tuple[int, int] | None, bool]:
    """Height and width of the images that a network was built for, and whether it takes others as well.

    timm keeps an option of the size in the network, not in its configuration.
    """
    patches = getattr(network, "patch_embed", None)
    size = given or getattr(patches, "img_size", None) or getattr(network, "img_size", None)
    any_size = getattr(patches, "strict_img_size", True) is False
    if isinstance(size, int):
        return (size, size), any_size
    if isinstance(size, (tuple, list)) and len(size) == 2 and all(isinstance(each, int) for each in size):
        return (size[0], size[1]), any_size
    return None, any_size


def _normalization(network: nn.Module, channels: int | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation that the network was made for; their averages where it was given other channels."""
    constants = resolve_model_data_config(network)
    mean, std = tuple(constants["mean"]), tuple(constants["std"])
    if channels is None or channels == len(mean):
        return mean, std
    return (sum(mean) / len(mean),) * channels, (sum(std) / len(std),) * channels


def _chosen(
    own_mean: tuple[float, ...],
    own_std: tuple[float, ...],
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    channels: int | None,
) -> Constants:
    """The constants given, else the network's own; one number stands for every channel."""
    chosen = []
    for which, given, default in (("mean", mean, own_mean), ("std", std, own_std)):
        values = default if given is None else tuple(float(each) for each in given)
        if len(values) == 1 and channels is not None:
            values *= channels
        if not values or not all(map(math.isfinite, values)) or (which == "std" and min(values) <= 0):
            raise BadInput(f"normalization {which} {values}: expected numbers" + " above 0" * (which == "std"))
        if channels is not None and len(values) != channels:
            raise BadInput(f"normalization {which} {values} for images of {channels} channels")
        chosen.append(values)
    try:
        return sound(Constants(*chosen), "the normalization")
    except Mismatch as error:
        raise BadInput(str(error)) from error
