"""The networks themselves: their sizes, their initialization, and what they refuse."""

from collections.abc import Sequence
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from seasoning.errors import BadInput, UnknownName
from seasoning.models import ACTIVATIONS, PixelClassifier, build_model


def small_by_hand(widths: Sequence[int], strides: Sequence[int], channels: int, classes: int) -> dict[str, Tensor]:
    """What the small network's random layers were from the first release on, drawn one after the other."""
    layers: dict[str, nn.Module] = {"stem": nn.Conv2d(channels, widths[0], 3, bias=False)}
    for number, stride in enumerate(strides):
        before, after, name = widths[number], widths[number + 1], f"blocks.{number}"
        layers[f"{name}.norm1"] = nn.GroupNorm(8, before)
        layers[f"{name}.conv1"] = nn.Conv2d(before, after, 3, bias=False)
        layers[f"{name}.norm2"] = nn.GroupNorm(8, after)
        layers[f"{name}.conv2"] = nn.Conv2d(after, after, 3, bias=False)
        if stride != 1 or before != after:
            layers[f"{name}.shortcut"] = nn.Conv2d(before, after, 1, bias=False)
    layers["norm"] = nn.GroupNorm(8, widths[-1])
    layers["fc"] = nn.Linear(widths[-1], classes)
    return {f"{name}.{each}": tensor for name, layer in layers.items() for each, tensor in layer.state_dict().items()}


@pytest.mark.parametrize(("widths", "strides"), [((16, 32, 32), (2, 1)), ((8, 16, 16, 32), (1, 1, 2))])
def test_the_small_network_never_changes(widths: tuple[int, ...], strides: tuple[int, ...]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        state = build_model("resnet_small", num_classes=7, widths=widths, strides=strides).network.state_dict()
        torch.manual_seed(3)
        expected = small_by_hand(widths, strides, 1, 7)
    assert list(state) == list(expected)
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())


def blocks(model: PixelClassifier) -> Any:
    return model.network.blocks


@pytest.mark.parametrize(
    ("name", "millions", "layers"),
    [("preact_resnet18", 11.172170, 17), ("wide_resnet_28_10", 36.479194, 25), ("wide_resnet_34_10", 46.160474, 31)],
)
def test_published_sizes(name: str, millions: float, layers: int) -> None:
    # On the meta device nothing is allocated. The counts are those of the papers' tables, to more digits.
    with torch.device("meta"):
        network = timm.create_model(name)
    assert sum(each.numel() for each in network.parameters()) == round(millions * 1e6)
    assert sum(isinstance(each, nn.Conv2d) and each.kernel_size == (3, 3) for each in network.modules()) == layers


def test_sizes_follow_the_options() -> None:
    model = build_model("preact_resnet18", width=4, num_classes=3, in_chans=1)
    assert [block.conv2.out_channels for block in blocks(model)] == [4, 4, 8, 8, 16, 16, 32, 32]
    assert [block.conv1.stride[0] for block in blocks(model)] == [1, 1, 2, 1, 2, 1, 2, 1]
    assert model(torch.rand(2, 1, 32, 32)).shape == (2, 3)
    model = build_model("wide_resnet", depth=16, widen=2, num_classes=3)
    assert [block.conv2.out_channels for block in blocks(model)] == [32, 32, 64, 64, 128, 128]
    assert [block.conv1.stride[0] for block in blocks(model)] == [1, 1, 2, 1, 2, 1]
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 3)


def test_wide_networks_start_at_the_scale_of_outgoing_connections() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model("wide_resnet", depth=10, widen=4, num_classes=3)
    for block in blocks(model):
        for conv in (block.conv1, block.conv2, block.shortcut):
            fan_out = conv.out_channels * conv.kernel_size[0] ** 2
            assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
    assert not model.network.state_dict()["fc.bias"].any()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_where_they_are_named(name: str) -> None:
    x = torch.rand(2, 3, 8, 8)
    models = {
        last: build_model("wide_resnet", depth=10, widen=1, num_classes=3, activation=name, last_activation=last)
        for last in (None, *ACTIVATIONS)
    }
    state = models[None].network.state_dict()
    for model in models.values():
        model.load(state)
    logits = {last: model(x) for last, model in models.items()}
    for last in ACTIVATIONS:
        assert torch.equal(logits[last], logits[None]) == (last == name)


def test_constants_are_those_of_cifar_unless_given() -> None:
    model = build_model("wide_resnet", depth=10, widen=1, num_classes=3)
    assert model.mean.flatten().tolist() == pytest.approx([0.4914, 0.4822, 0.4465])
    assert model.std.flatten().tolist() == pytest.approx([0.2471, 0.2435, 0.2616])
    grey = build_model("wide_resnet", depth=10, widen=1, num_classes=3, in_chans=1)
    assert grey.mean.flatten().tolist() == pytest.approx([(0.4914 + 0.4822 + 0.4465) / 3])
    pixels = build_model("wide_resnet", depth=10, widen=1, num_classes=3, mean=(0, 0, 0), std=(1,))
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(pixels(x), pixels.network(x), rtol=0, atol=0)


def test_impossible_options_are_named() -> None:
    with pytest.raises(BadInput, match="depth 27: depth - 4 must be a multiple of 6"):
        build_model("wide_resnet", depth=27, num_classes=3)
    with pytest.raises(BadInput, match="depth 4"):
        build_model("wide_resnet", depth=4, num_classes=3)
    with pytest.raises(UnknownName, match="unknown activation 'sofplus': did you mean 'softplus'"):
        build_model("preact_resnet18", width=4, num_classes=3, activation="sofplus")
    with pytest.raises(UnknownName, match="unknown activation 'sillu'"):
        build_model("preact_resnet18", width=4, num_classes=3, last_activation="sillu")
    with pytest.raises(UnknownName, match="unknown style of blocks 'deepmind'"):
        build_model("wide_resnet", depth=10, widen=1, num_classes=3, style="deepmind")
    with pytest.raises(BadInput, match="takes no option 'activaton'"):
        build_model("preact_resnet18", width=4, num_classes=3, activaton="silu")
    with pytest.raises(BadInput, match="takes no option 'activation'"):
        build_model("resnet_small", num_classes=3, activation="relu")
    with pytest.raises(BadInput, match="widen"):
        build_model("wide_resnet_28_10", num_classes=3, widen=2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"std": (1, 0, 1)}, r"normalization std \(1.0, 0.0, 1.0\): expected numbers above 0"),
        ({"mean": (float("nan"),)}, "normalization mean .* expected numbers"),
        ({"mean": ()}, "normalization mean"),
        ({"mean": (0, 0)}, r"normalization mean \(0.0, 0.0\) for images of 3 channels"),
    ],
)
def test_impossible_constants_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        build_model("wide_resnet", depth=10, widen=1, num_classes=3, **options)
