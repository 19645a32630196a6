"""From a name to a classifier of images in [0, 1]."""

from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from seasoning.checkpoint import State
from seasoning.errors import BadInput, Mismatch, UnknownName
from seasoning.models import resnet  # noqa: F401  registers our networks with timm


__all__ = ["Classifier", "build_model"]


class Classifier(nn.Module):
    """A network behind its normalization: images in [0, 1] to logits.

    The constants are no part of the state, so `network.state_dict()` has the architecture's own names.

    Args:
        network: Normalized images to logits.
        mean: Mean of each channel, in units of pixels in [0, 1].
        std: Standard deviation of each channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Images `(B, C, H, W)` in [0, 1] to logits `(B, K)`."""
        logits: Tensor = self.network((x - self.mean) / self.std)
        return logits

    def load(self, state: State) -> None:
        """Take over parameters and buffers.

        Raises:
            Mismatch: they do not fit the architecture; the first differing tensor is named with both shapes.
        """
        own = self.network.state_dict()
        for name, tensor in own.items():
            if name not in state:
                raise Mismatch(f"the checkpoint lacks tensor {name!r} of shape {tuple(tensor.shape)}")
            if state[name].shape != tensor.shape:
                given, wanted = tuple(state[name].shape), tuple(tensor.shape)
                raise Mismatch(f"tensor {name!r} has shape {given} in the checkpoint, the architecture wants {wanted}")
        extra = next((name for name in state if name not in own), None)
        if extra is not None:
            shape = tuple(state[extra].shape)
            raise Mismatch(f"the checkpoint's tensor {extra!r} of shape {shape} has no place in the architecture")
        self.network.load_state_dict(dict(state))


def build_model(name: str, *, num_classes: int, state: State | None = None, **options: Any) -> Classifier:
    """A classifier on [0, 1] pixels, in evaluation mode.

    Args:
        name: An architecture that timm knows; ours are among them (`"resnet_small"`).
        num_classes: Number of logits.
        state: Parameters and buffers; without it the network is initialized at random.
        options: Further arguments of the architecture, such as `in_chans=1`.

    Raises:
        UnknownName: no such architecture.
        BadInput: the architecture does not take an option.
        Mismatch: `state` does not fit.
    """
    if not timm.is_model(name):
        raise UnknownName("architecture", name, timm.list_models())
    try:
        network = timm.create_model(name, num_classes=num_classes, **options)
    except TypeError as error:
        raise BadInput(f"architecture {name!r} with options {sorted(options)}: {error}") from error
    model = Classifier(network, *_normalization(network, options.get("in_chans"))).eval()
    if state is not None:
        model.load(state)
    return model


def _normalization(network: nn.Module, channels: int | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation that the network was made for; their averages where it was given other channels."""
    constants = resolve_model_data_config(network)
    mean, std = tuple(constants["mean"]), tuple(constants["std"])
    if channels is None or channels == len(mean):
        return mean, std
    return (sum(mean) / len(mean),) * channels, (sum(std) / len(std),) * channels
