"""Residual networks of our own, registered with timm beside its hundreds."""

from collections.abc import Sequence
from typing import Any

from timm.models import register_model
from torch import Tensor, nn


__all__ = ["ResidualNetwork", "resnet_small"]

_GROUPS = 8


class ResidualNetwork(nn.Module):
    """Pre-activation residual network with group normalization and SiLU.

    Group normalization has no running statistics, so a soup of such networks needs no recalibration.

    Args:
        widths: Channels of the stem and after each block.
        strides: Stride of each block, one fewer than `widths`.
        num_classes: Number of logits.
        in_chans: Channels of the images.

    Source: He et al. 2016, *Identity mappings in deep residual networks*; Wu & He 2018, *Group normalization*.
    """

    def __init__(self, widths: Sequence[int], strides: Sequence[int], num_classes: int, in_chans: int) -> None:
        super().__init__()
        # Where timm looks for a network's normalization constants.
        self.pretrained_cfg = {"input_size": (in_chans, 8, 8), "mean": (0.5,) * in_chans, "std": (0.5,) * in_chans}
        self.stem = nn.Conv2d(in_chans, widths[0], 3, padding=1, bias=False)
        pairs = zip(widths, widths[1:], strides, strict=False)
        self.blocks = nn.Sequential(*[_Block(before, after, stride) for before, after, stride in pairs])
        self.norm = nn.GroupNorm(_GROUPS, widths[-1])
        self.fc = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Normalized images `(B, C, H, W)` to logits `(B, K)`."""
        features = nn.functional.silu(self.norm(self.blocks(self.stem(x))))
        logits: Tensor = self.fc(features.mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(_GROUPS, before)
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(_GROUPS, after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        changes = stride != 1 or before != after
        self.shortcut = nn.Conv2d(before, after, 1, stride=stride, bias=False) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        active = nn.functional.silu(self.norm1(x))
        skip = x if isinstance(self.shortcut, nn.Identity) else self.shortcut(active)
        out: Tensor = self.conv2(nn.functional.silu(self.norm2(self.conv1(active))))
        return out + skip


@register_model  # type: ignore[untyped-decorator]
def resnet_small(
    pretrained: bool = False,
    *,
    num_classes: int = 10,
    in_chans: int = 1,
    widths: Sequence[int] = (16, 32, 32),
    strides: Sequence[int] = (2, 1),
    **ignored: Any,
) -> ResidualNetwork:
    """Residual network of 34k parameters for images of about 8 x 8; `timm.create_model("resnet_small")` finds it.

    Args:
        pretrained: Must be false: there are no published parameters.
        num_classes: Number of logits.
        in_chans: Channels of the images.
        widths: Channels of the stem and after each block.
        strides: Stride of each block.
        ignored: What timm hands to every network.
    """
    if pretrained:
        raise ValueError("resnet_small has no pretrained parameters: pass a checkpoint")
    return ResidualNetwork(widths, strides, num_classes, in_chans)
