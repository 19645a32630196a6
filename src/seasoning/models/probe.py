"""What is asked before any work: whether a network takes the images, and which device there is."""

import torch
from torch import Tensor, nn

from seasoning.errors import BadInput, SeasoningError


__all__ = ["pick_device", "require_takes"]


def require_takes(model: nn.Module, images: Tensor, name: str, remedy: str) -> None:
    """Refuse images that a network does not take.

    Args:
        model: Images in [0, 1] to logits.
        images: A few, `(B, C, H, W)`.
        name: What errors call the network.
        remedy: What errors say can be done, such as `"choose another, such as resnet_small"`.

    Raises:
        BadInput: the network fails on them.
    """
    try:
        with torch.no_grad():
            model(images)
    except SeasoningError:
        raise  # of the network, whatever the images
    except (AssertionError, RuntimeError, ValueError) as error:
        raise BadInput(f"{name} does not take images of shape {tuple(images.shape[1:])} ({error}): {remedy}") from error


def pick_device(name: str | None) -> torch.device:
    """The device of that name; without one a GPU where there is one, else the processor.

    Raises:
        BadInput: this machine lacks it.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise BadInput(f"device {name!r} cannot be used here ({error}): leave the option out") from error
