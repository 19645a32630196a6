"""Pre-activation residual networks of our own, registered with timm beside its hundreds.

One block and one network make three families: a small group-norm network, PreAct-ResNet and WideResNet.

Sources: He et al. 2016, *Identity mappings in deep residual networks*; Zagoruyko & Komodakis 2016, *Wide residual
networks*; Wu & He 2018, *Group normalization*.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from timm.models import register_model
from torch import Tensor, nn
from torch.nn import functional

from seasoning.errors import BadInput, UnknownName


__all__ = [
    "ACTIVATIONS",
    "STYLES",
    "ResidualNetwork",
    "Style",
    "preact_resnet18",
    "resnet_small",
    "wide_resnet",
    "wide_resnet_28_10",
    "wide_resnet_34_10",
]

_GROUPS = 8
_CIFAR_MEAN, _CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
# What timm's factory hands to every network and ours have no use for.
_TIMM = {"pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"}

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "silu": functional.silu,
    "softplus": functional.softplus,
}


class Style(NamedTuple):
    """Where the blocks of public networks differ, though the papers' text is the same.

    Args:
        activated: Whether a shortcut convolution reads the activated input or the block's input itself.
        kernel: Side of the shortcut convolution.
        trailing: Whether 3x3 convolutions of stride 2 pad only at the right and the bottom, as TensorFlow's "same"
            does for images of even sides, or by one on every side.
    """

    activated: bool
    kernel: int
    trailing: bool


# Parameters trained in one style give wrong logits in another, and the shapes do not always tell.
STYLES = {
    "standard": Style(activated=True, kernel=1, trailing=False),
    "raw-shortcut": Style(activated=False, kernel=1, trailing=False),
    "deepmind-wide": Style(activated=True, kernel=1, trailing=True),
    "deepmind-preact": Style(activated=False, kernel=3, trailing=True),
}


class ResidualNetwork(nn.Module):
    """Pre-activation residual network: stem, blocks, normalization, activation, mean over the image, linear layer.

    Args:
        widths: Channels of the stem and after each block.
        strides: Stride of each block, one fewer than `widths`.
        num_classes: Number of logits.
        in_chans: Channels of the images.
        norm: From a number of channels to a normalization layer.
        activation: Name in `ACTIVATIONS`.
        last_activation: The same for the one before the linear layer.
        style: Name in `STYLES`.

    Raises:
        UnknownName: no such activation or style.
    """

    pretrained_cfg: dict[str, Any]

    def __init__(
        self,
        widths: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        in_chans: int,
        *,
        norm: Callable[[int], nn.Module],
        activation: str,
        last_activation: str,
        style: str,
    ) -> None:
        super().__init__()
        for name in (activation, last_activation):
            if name not in ACTIVATIONS:
                raise UnknownName("activation", name, ACTIVATIONS)
        if style not in STYLES:
            raise UnknownName("style of blocks", style, STYLES)
        self.style = style
        self._activate, kind = ACTIVATIONS[last_activation], STYLES[style]
        # The order of these lines is that of the random numbers: another one initializes other networks.
        self.stem = nn.Conv2d(in_chans, widths[0], 3, padding=1, bias=False)
        triples = zip(widths, widths[1:], strides, strict=False)
        self.blocks = nn.Sequential(*[_Block(*triple, norm, ACTIVATIONS[activation], kind) for triple in triples])
        self.norm = norm(widths[-1])
        self.fc = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Normalized images `(B, C, H, W)` to logits `(B, K)`."""
        features = self._activate(self.norm(self.blocks(self.stem(x))))
        logits: Tensor = self.fc(features.mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    def __init__(
        self,
        before: int,
        after: int,
        stride: int,
        norm: Callable[[int], nn.Module],
        activate: Callable[[Tensor], Tensor],
        style: Style,
    ) -> None:
        super().__init__()
        self._activate, self._activated = activate, style.activated
        trailing = style.trailing and stride == 2
        self._pad = nn.ZeroPad2d((0, 1, 0, 1)) if trailing else nn.Identity()
        padding = 0 if trailing else 1
        self.norm1 = norm(before)
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=padding, bias=False)
        self.norm2 = norm(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.shortcut: nn.Module = nn.Identity()
        self._pad_shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            wide = style.kernel == 3
            self._pad_shortcut = self._pad if wide else self._pad_shortcut
            padding = padding if wide else 0
            self.shortcut = nn.Conv2d(before, after, style.kernel, stride=stride, padding=padding, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = self._activate(self.norm1(x))
        # Without a convolution the shortcut is the identity of the block's input, in every style.
        through = active if self._activated and not isinstance(self.shortcut, nn.Identity) else x
        skip: Tensor = self.shortcut(self._pad_shortcut(through))
        out: Tensor = self.conv2(self._activate(self.norm2(self.conv1(self._pad(active)))))
        return out + skip


@register_model  # type: ignore[untyped-decorator]
def resnet_small(
    pretrained: bool = False,
    *,
    num_classes: int = 10,
    in_chans: int = 1,
    widths: Sequence[int] = (16, 32, 32),
    strides: Sequence[int] = (2, 1),
    **unused: Any,
) -> ResidualNetwork:
    """Residual network of 34k parameters for images of about 8 x 8; `timm.create_model("resnet_small")` finds it.

    Group normalization has no running statistics, so a soup of such networks needs no recalibration.

    Args:
        pretrained: Must be false: there are no published parameters.
        num_classes: Number of logits.
        in_chans: Channels of the images.
        widths: Channels of the stem and after each block.
        strides: Stride of each block.
        unused: What timm hands to every network.
    """
    _require_known("resnet_small", pretrained, unused)
    network = ResidualNetwork(
        widths,
        strides,
        num_classes,
        in_chans,
        norm=lambda channels: nn.GroupNorm(_GROUPS, channels),
        activation="silu",
        last_activation="silu",
        style="standard",
    )
    return _described(network, (in_chans, 8, 8), (0.5,) * in_chans, (0.5,) * in_chans)


@register_model  # type: ignore[untyped-decorator]
def preact_resnet18(
    pretrained: bool = False,
    *,
    num_classes: int = 10,
    in_chans: int = 3,
    width: int = 64,
    activation: str = "relu",
    last_activation: str | None = None,
    style: str = "standard",
    **unused: Any,
) -> ResidualNetwork:
    """PreAct-ResNet-18 with batch normalization, for images of 32 x 32.

    Four stages of two blocks, of `width`, 2, 4 and 8 times `width` channels; 11.2 million parameters.

    Args:
        pretrained: Must be false: there are no published parameters.
        num_classes: Number of logits.
        in_chans: Channels of the images.
        width: Channels of the stem and of the first stage.
        activation: `"relu"`, `"silu"` or `"softplus"`.
        last_activation: The one before the linear layer; by default the same. The checkpoints of Croce & Hein 2022,
            *Adversarial robustness against multiple and single l_p-threat models*, have softplus blocks and ReLU here.
        style: A name in `STYLES`: `"standard"`; `"raw-shortcut"` for checkpoints of Wong et al. 2020, *Fast is better
            than free*; `"deepmind-preact"` for those of Gowal et al. 2020, *Uncovering the limits*.
        unused: What timm hands to every network.

    Raises:
        UnknownName: no such activation or style.

    Source: He et al. 2016, *Identity mappings in deep residual networks*.
    """
    _require_known("preact_resnet18", pretrained, unused)
    widths = [width, *(width * factor for factor in (1, 2, 4, 8) for _ in range(2))]
    return _for_cifar(widths, [1, 1] + [2, 1] * 3, num_classes, in_chans, activation, last_activation, style)


@register_model  # type: ignore[untyped-decorator]
def wide_resnet(
    pretrained: bool = False,
    *,
    depth: int = 28,
    widen: int = 10,
    num_classes: int = 10,
    in_chans: int = 3,
    activation: str = "relu",
    last_activation: str | None = None,
    style: str = "standard",
    **unused: Any,
) -> ResidualNetwork:
    """WideResNet of any depth and width with batch normalization, for images of 32 x 32.

    Three stages of `(depth - 4) / 6` blocks, of 16, 32 and 64 times `widen` channels behind a stem of 16. Convolutions
    start with the variance of He et al. 2015, *Delving deep into rectifiers*, by outgoing connections.

    Args:
        pretrained: Must be false: there are no published parameters.
        depth: Number of layers: 10, 16, 22, 28, 34, …
        widen: Factor of the channels.
        num_classes: Number of logits.
        in_chans: Channels of the images.
        activation: `"relu"`, `"silu"` or `"softplus"`.
        last_activation: The one before the linear layer; by default the same.
        style: A name in `STYLES`: `"standard"`; `"deepmind-wide"` for checkpoints of Gowal et al. 2020, *Uncovering the
            limits*, and its successors.
        unused: What timm hands to every network.

    Raises:
        BadInput: no network has this depth.
        UnknownName: no such activation or style.

    Source: Zagoruyko & Komodakis 2016, *Wide residual networks*.
    """
    _require_known("wide_resnet", pretrained, unused)
    blocks, rest = divmod(depth - 4, 6)
    if rest or blocks < 1:
        raise BadInput(f"a WideResNet of depth {depth}: depth - 4 must be a multiple of 6 (10, 16, 22, 28, 34, …)")
    widths = [16, *(16 * widen * factor for factor in (1, 2, 4) for _ in range(blocks))]
    strides = [stride for first in (1, 2, 2) for stride in (first, *[1] * (blocks - 1))]
    network = _for_cifar(widths, strides, num_classes, in_chans, activation, last_activation, style)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(network.fc.bias)
    return network


@register_model  # type: ignore[untyped-decorator]
def wide_resnet_28_10(pretrained: bool = False, **options: Any) -> ResidualNetwork:
    """`wide_resnet` of depth 28 and width 10, of 36.5 million parameters; it takes the other options of that."""
    return wide_resnet(pretrained, depth=28, widen=10, **options)  # type: ignore[no-any-return]


@register_model  # type: ignore[untyped-decorator]
def wide_resnet_34_10(pretrained: bool = False, **options: Any) -> ResidualNetwork:
    """`wide_resnet` of depth 34 and width 10, of 46.2 million parameters; it takes the other options of that."""
    return wide_resnet(pretrained, depth=34, widen=10, **options)  # type: ignore[no-any-return]


def _for_cifar(
    widths: Sequence[int],
    strides: Sequence[int],
    num_classes: int,
    in_chans: int,
    activation: str,
    last_activation: str | None,
    style: str,
) -> ResidualNetwork:
    network = ResidualNetwork(
        widths,
        strides,
        num_classes,
        in_chans,
        norm=nn.BatchNorm2d,
        activation=activation,
        last_activation=activation if last_activation is None else last_activation,
        style=style,
    )
    return _described(network, (in_chans, 32, 32), _CIFAR_MEAN, _CIFAR_STD)


def _described(
    network: ResidualNetwork, size: tuple[int, int, int], mean: Sequence[float], std: Sequence[float]
) -> ResidualNetwork:
    # Where timm looks for a network's normalization constants.
    network.pretrained_cfg = {"input_size": size, "mean": tuple(mean), "std": tuple(std)}
    return network


def _require_known(name: str, pretrained: bool, options: dict[str, Any]) -> None:
    if pretrained:
        raise ValueError(f"{name} has no pretrained parameters: pass a checkpoint")
    unknown = sorted(set(options) - _TIMM)
    if unknown:
        raise TypeError(f"{name} takes no option {', '.join(map(repr, unknown))}")
