"""Foreign checkpoints give the logits of the code that they come from.

Each family's forward pass is written out below, from the names of its own tensors, with nothing of the package.
"""

import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import timm
import torch
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad, relu, silu, softplus

from seasoning.errors import Mismatch
from seasoning.models import PixelClassifier, adapt_keys, build_model, carried_normalization, fitted
from seasoning.soup import mix


State = dict[str, Tensor]
Activation = Callable[[Tensor], Tensor]
WIDEN, DEPTH, WIDTH, CLASSES = 2, 16, 4, 5


def filled(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> State:
    """Random parameters and statistics; whole layers are mixed up or lost only at the price of other logits."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            state[name] = 0.5 + torch.rand(shape, generator=generator, dtype=torch.float64)
        else:
            scale = math.prod(shape[1:]) ** -0.5
            state[name] = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
    return state


def norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    tensors = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{each}": (channels,) for each in tensors} | {f"{name}.num_batches_tracked": ()}


def block(names: Mapping[str, str], before: int, after: int, stride: int, kernel: int) -> dict[str, tuple[int, ...]]:
    """Shapes of one block under the family's names of its layers."""
    shapes: dict[str, tuple[int, ...]] = {**norm(names["norm1"], before), **norm(names["norm2"], after)}
    shapes[names["conv1"] + ".weight"] = (after, before, 3, 3)
    shapes[names["conv2"] + ".weight"] = (after, after, 3, 3)
    if stride != 1 or before != after:
        shapes[names["shortcut"] + ".weight"] = (after, before, kernel, kernel)
    return shapes


def normed(x: Tensor, state: State, name: str) -> Tensor:
    mean, variance, weight, bias = (
        state[f"{name}.{each}"].view(1, -1, 1, 1) for each in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (variance + 1e-5).sqrt() * weight + bias


def trades_names(stage: int, number: int) -> dict[str, str]:
    at = f"block{stage + 1}.layer.{number}."
    own = {"norm1": "bn1", "conv1": "conv1", "norm2": "bn2", "conv2": "conv2", "shortcut": "convShortcut"}
    return {ours: at + theirs for ours, theirs in own.items()}


def pytorch_cifar_names(stage: int, number: int) -> dict[str, str]:
    at = f"layer{stage + 1}.{number}."
    own = {"norm1": "bn1", "conv1": "conv1", "norm2": "bn2", "conv2": "conv2", "shortcut": "shortcut.0"}
    return {ours: at + theirs for ours, theirs in own.items()}


def deepmind_wide_names(stage: int, number: int) -> dict[str, str]:
    at = f"layer.{stage}.block.{number}."
    own = {
        "norm1": "batchnorm_0",
        "conv1": "conv_0",
        "norm2": "batchnorm_1",
        "conv2": "conv_1",
        "shortcut": "shortcut",
    }
    return {ours: at + theirs for ours, theirs in own.items()}


def deepmind_preact_names(stage: int, number: int) -> dict[str, str]:
    at = f"layer_{stage}.{number}."
    own = {
        "norm1": "batchnorm_0",
        "conv1": "conv_2d_1",
        "norm2": "batchnorm_1",
        "conv2": "conv_2d_2",
        "shortcut": "shortcut",
    }
    return {ours: at + theirs for ours, theirs in own.items()}


def wide_stages() -> list[list[tuple[int, int, int]]]:
    """Channels before and after and stride of every block, stage by stage: WideResNet-16-2."""
    wide = [16 * WIDEN, 32 * WIDEN, 64 * WIDEN]
    return [
        [(16, wide[0], 1), (wide[0], wide[0], 1)],
        [(wide[0], wide[1], 2), (wide[1], wide[1], 1)],
        [(wide[1], wide[2], 2), (wide[2], wide[2], 1)],
    ]


def preact_stages() -> list[list[tuple[int, int, int]]]:
    return [
        [(WIDTH, WIDTH, 1), (WIDTH, WIDTH, 1)],
        [(WIDTH, 2 * WIDTH, 2), (2 * WIDTH, 2 * WIDTH, 1)],
        [(2 * WIDTH, 4 * WIDTH, 2), (4 * WIDTH, 4 * WIDTH, 1)],
        [(4 * WIDTH, 8 * WIDTH, 2), (8 * WIDTH, 8 * WIDTH, 1)],
    ]


Names = Callable[[int, int], dict[str, str]]
Stages = list[list[tuple[int, int, int]]]


def foreign_state(names: Names, stages: Stages, outside: tuple[str, str, str], kernel: int = 1, seed: int = 0) -> State:
    stem, last, linear = outside
    channels = stages[-1][-1][1]
    shapes: dict[str, tuple[int, ...]] = {f"{stem}.weight": (stages[0][0][0], 3, 3, 3)}
    for stage, blocks in enumerate(stages):
        for number, (before, after, stride) in enumerate(blocks):
            shapes |= block(names(stage, number), before, after, stride, kernel)
    shapes |= {**norm(last, channels), f"{linear}.weight": (CLASSES, channels), f"{linear}.bias": (CLASSES,)}
    return filled(shapes, seed)


def trades_block(x: Tensor, state: State, names: Mapping[str, str], stride: int, act: Activation) -> Tensor:
    """Where the channels change, what is activated replaces the block's input for good."""
    active = act(normed(x, state, names["norm1"]))
    out = conv2d(active, state[names["conv1"] + ".weight"], stride=stride, padding=1)
    out = conv2d(act(normed(out, state, names["norm2"])), state[names["conv2"] + ".weight"], padding=1)
    shortcut = names["shortcut"] + ".weight"
    return out + (conv2d(active, state[shortcut], stride=stride) if shortcut in state else x)


def raw_block(x: Tensor, state: State, names: Mapping[str, str], stride: int, act: Activation) -> Tensor:
    """Fast adversarial training: the shortcut reads the block's input."""
    shortcut = names["shortcut"] + ".weight"
    skip = conv2d(x, state[shortcut], stride=stride) if shortcut in state else x
    out = act(normed(x, state, names["norm1"]))
    out = conv2d(out, state[names["conv1"] + ".weight"], stride=stride, padding=1)
    out = conv2d(act(normed(out, state, names["norm2"])), state[names["conv2"] + ".weight"], padding=1)
    return out + skip


def same(x: Tensor, stride: int) -> Tensor:
    return pad(x, (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1))


def deepmind_wide_block(x: Tensor, state: State, names: Mapping[str, str], stride: int, act: Activation) -> Tensor:
    active = act(normed(x, state, names["norm1"]))
    out = conv2d(same(active, stride), state[names["conv1"] + ".weight"], stride=stride)
    out = conv2d(act(normed(out, state, names["norm2"])), state[names["conv2"] + ".weight"], padding=1)
    shortcut = names["shortcut"] + ".weight"
    return out + (conv2d(active, state[shortcut], stride=stride) if shortcut in state else x)


def deepmind_preact_block(x: Tensor, state: State, names: Mapping[str, str], stride: int, act: Activation) -> Tensor:
    shortcut = names["shortcut"] + ".weight"
    skip = conv2d(same(x, stride), state[shortcut], stride=stride) if shortcut in state else x
    out = conv2d(same(act(normed(x, state, names["norm1"])), stride), state[names["conv1"] + ".weight"], stride=stride)
    return skip + conv2d(act(normed(out, state, names["norm2"])), state[names["conv2"] + ".weight"], padding=1)


Block = Callable[[Tensor, State, Mapping[str, str], int, Activation], Tensor]


def foreign_logits(
    x: Tensor,
    state: State,
    names: Names,
    stages: Stages,
    outside: tuple[str, str, str],
    step: Block,
    act: Activation,
    last_act: Activation,
) -> Tensor:
    stem, last, linear = outside
    out = conv2d(x, state[f"{stem}.weight"], padding=1)
    for stage, blocks in enumerate(stages):
        for number, (_, _, stride) in enumerate(blocks):
            out = step(out, state, names(stage, number), stride, act)
    out = last_act(normed(out, state, last)).mean(dim=(2, 3))
    return out @ state[f"{linear}.weight"].T + state[f"{linear}.bias"]


Foreign = tuple[Names, Stages, tuple[str, str, str]]

TRADES: Foreign = (trades_names, wide_stages(), ("conv1", "bn1", "fc"))
PYTORCH_CIFAR: Foreign = (pytorch_cifar_names, preact_stages(), ("conv1", "bn", "linear"))
DEEPMIND_WIDE: Foreign = (deepmind_wide_names, wide_stages(), ("init_conv", "batchnorm", "logits"))
DEEPMIND_PREACT: Foreign = (deepmind_preact_names, preact_stages(), ("conv_2d", "batchnorm", "logits"))

wide = partial(build_model, "wide_resnet", depth=DEPTH, widen=WIDEN, num_classes=CLASSES)
preact = partial(build_model, "preact_resnet18", width=WIDTH, num_classes=CLASSES)

CASES: dict[str, tuple[Foreign, int, Block, Activation, Activation, Callable[..., PixelClassifier], dict[str, str]]] = {
    "trades": (TRADES, 1, trades_block, relu, relu, wide, {}),
    "robust-overfitting": (PYTORCH_CIFAR, 1, trades_block, relu, relu, preact, {}),
    "e-at": (
        PYTORCH_CIFAR,
        1,
        trades_block,
        softplus,
        relu,
        preact,
        {"activation": "softplus", "last_activation": "relu"},
    ),
    "fast-adversarial": (PYTORCH_CIFAR, 1, raw_block, relu, relu, preact, {"style": "raw-shortcut"}),
    "deepmind-wide": (
        DEEPMIND_WIDE,
        1,
        deepmind_wide_block,
        silu,
        silu,
        wide,
        {"activation": "silu", "style": "deepmind-wide"},
    ),
    "deepmind-preact": (
        DEEPMIND_PREACT,
        3,
        deepmind_preact_block,
        silu,
        silu,
        preact,
        {"activation": "silu", "style": "deepmind-preact"},
    ),
}


def images() -> Tensor:
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def agree(model: PixelClassifier, x: Tensor, expected: Tensor) -> None:
    assert expected.std() > 0.01
    with torch.no_grad():
        torch.testing.assert_close(model(x), expected, rtol=1e-9, atol=1e-9)


def raw(build: Callable[..., PixelClassifier], **options: str) -> PixelClassifier:
    """In float64 and without normalization."""
    return build(mean=(0,), std=(1,), **options).double()


@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_the_foreign_code(case: str) -> None:
    family, kernel, step, act, last_act, build, options = CASES[case]
    state = foreign_state(*family, kernel=kernel)
    model = raw(build, **options)
    model.load(state)
    agree(model, images(), foreign_logits(images(), state, *family, step, act, last_act))


@pytest.mark.parametrize("wrap", ["module.1.", "1.", "module.model.", "model.", "_orig_mod.module.", "net."])
def test_wrapped_networks_with_constants_normalize_as_they_were_trained(wrap: str) -> None:
    bare = foreign_state(*TRADES)
    mean, std = torch.tensor([0.5, 0.25, 0.375]).double(), torch.tensor([0.25, 0.5, 0.125]).double()
    state = {wrap + name: tensor for name, tensor in bare.items()}
    outer = wrap.rpartition("1.")[0]
    beside = ("0.mean", "0.std") if wrap.endswith("1.") else ("normalize.mean", "normalize.std")
    state |= {outer + beside[0]: mean, outer + beside[1]: std}
    model = wide().double()
    model.load(state)
    x = images()
    expected = foreign_logits(
        (x - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1), bare, *TRADES, trades_block, relu, relu
    )
    agree(model, x, expected)


@pytest.mark.parametrize(
    ("mean", "std"), [("mu", "sigma"), ("mu", "std"), ("mean", "std"), ("normalizer.new_mean", "normalizer.new_std")]
)
def test_constants_of_any_usual_name_and_shape_are_taken(mean: str, std: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    bare = foreign_state(*PYTORCH_CIFAR)
    model = preact(state={**bare, mean: torch.full((1, 3, 1, 1), 0.25), std: torch.full((3, 1, 1), 0.5)})
    assert model.mean.flatten().tolist() == [0.25] * 3
    assert model.std.flatten().tolist() == [0.5] * 3
    assert "normalizing as the checkpoint says: mean [0.25, 0.25, 0.25]" in caplog.text
    # A checkpoint without any is not normalized by those of the one before it.
    model.load(bare)
    assert model.mean.flatten().tolist() == pytest.approx([0.4914, 0.4822, 0.4465])
    assert model.std.flatten().tolist() == pytest.approx([0.2471, 0.2435, 0.2616])


def test_constants_that_cannot_be_right_are_refused() -> None:
    state = foreign_state(*PYTORCH_CIFAR)
    with pytest.raises(Mismatch, match=r"a normalization mean \('mu'\) and no std"):
        preact(state={**state, "mu": torch.zeros(3)})
    with pytest.raises(Mismatch, match=r"two normalizations that differ: 'mu' and 'normalize.mean'"):
        preact(state={**state, "mu": torch.zeros(3), "normalize.mean": torch.ones(3)})
    with pytest.raises(Mismatch, match="impossible"):
        preact(state={**state, "mu": torch.zeros(3), "std": torch.zeros(3)})
    with pytest.raises(Mismatch, match="normalizes 2 channels, the architecture takes 3"):
        preact(state={**state, "mu": torch.zeros(2), "std": torch.ones(2)})
    with pytest.raises(Mismatch, match=r"normalization mean .*0.5.* not .*0.0.*leave the option out"):
        preact(mean=(0,), state={**state, "mu": torch.full((3,), 0.5), "std": torch.ones(3)})
    agreed = preact(mean=(0.5,), state={**state, "mu": torch.full((3,), 0.5), "std": torch.ones(3)})
    assert agreed.std.flatten().tolist() == [1] * 3


def test_a_network_keeps_constants_that_are_its_own() -> None:
    class Normalizing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(3))
            self.linear = nn.Linear(3, 2)

    network = Normalizing()
    state = {"module." + name: tensor + 1 for name, tensor in network.state_dict().items()}
    assert carried_normalization(state, network) is None
    assert adapt_keys(state, network)["mean"].tolist() == [1, 1, 1]


def test_unused_layers_are_dropped_and_missing_counters_start_at_zero() -> None:
    state = foreign_state(*TRADES)
    unused = {f"sub_{name}": tensor + 1 for name, tensor in state.items() if name.startswith("block1.")}
    old = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    model = raw(wide)
    model.load({**old, **unused})
    agree(model, images(), foreign_logits(images(), state, *TRADES, trades_block, relu, relu))
    counters = [tensor for name, tensor in model.network.state_dict().items() if name.endswith("num_batches_tracked")]
    assert len(counters) == 13
    assert not any(counters)
    model.load(state)
    assert model.network.state_dict()["norm.num_batches_tracked"] == 7


def test_soups_of_foreign_checkpoints_are_soups_of_ours() -> None:
    states = [foreign_state(*DEEPMIND_WIDE, seed=seed) for seed in (0, 1)]
    model = raw(wide, style="deepmind-wide")
    own = [dict(adapt_keys(state, model.network)) for state in states]
    mixed = adapt_keys(mix(states, (0.3, 0.7)), model.network)
    for name, tensor in mix(own, (0.3, 0.7)).items():
        torch.testing.assert_close(mixed[name], tensor, rtol=0, atol=0)


def test_a_state_that_fits_is_never_renamed() -> None:
    network = preact().network
    state = network.state_dict()
    assert adapt_keys(state, network) is state
    # A network of timm shares the names of pytorch-cifar's layers and keeps them.
    other = build_model("resnet10t", num_classes=5).network
    wrapped = {"module." + name: tensor for name, tensor in other.state_dict().items()}
    assert list(adapt_keys(wrapped, other)) == list(other.state_dict())
    # The names of a network in a wrapper are found whether the checkpoint's still carry the prefix or not.
    wrapper = nn.ModuleDict({"model": other})
    assert set(adapt_keys(other.state_dict(), wrapper)) == set(wrapper.state_dict())


def test_a_family_that_computes_something_else_is_refused_by_name() -> None:
    with pytest.raises(Mismatch, match=r"DeepMind's WideResNet.*style='deepmind-wide'"):
        wide(state=foreign_state(*DEEPMIND_WIDE))
    with pytest.raises(Mismatch, match=r"DeepMind's PreAct-ResNet.*style='deepmind-preact'"):
        preact(state=foreign_state(*DEEPMIND_PREACT, kernel=3))
    with pytest.raises(Mismatch, match=r"TRADES.*style='standard'"):
        wide(state=foreign_state(*TRADES), style="deepmind-wide")


def test_networks_without_the_last_normalization_are_refused() -> None:
    state = {name: tensor for name, tensor in foreign_state(*PYTORCH_CIFAR).items() if not name.startswith("bn.")}
    with pytest.raises(Mismatch, match="pytorch-cifar but no normalization 'bn' before its linear layer"):
        preact(state=state)


def test_misfits_of_a_known_family_are_named() -> None:
    state = foreign_state(*PYTORCH_CIFAR)
    with pytest.raises(Mismatch, match=r"'fc.weight' has shape \(5, 32\) in the checkpoint, .* wants \(7, 32\)"):
        build_model("preact_resnet18", width=WIDTH, num_classes=7, state=state)
    with pytest.raises(Mismatch, match=r"'layer1.0.extra.weight' of shape"):
        preact(state={**state, "layer1.0.extra.weight": torch.zeros(1)})
    more = {name.replace("layer4.1.", "layer4.2."): tensor for name, tensor in state.items() if "layer4.1." in name}
    with pytest.raises(Mismatch, match=r"'blocks.8.norm1.weight' of shape"):
        preact(state={**state, **more})


def test_a_network_is_found_under_any_prefix_and_losses_beside_it_are_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    network = preact().network
    state = {name: torch.rand_like(each) if each.dim() else each for name, each in network.state_dict().items()}
    for prefix in ("backbone.", "my.encoder.q.", "module.model.visual."):
        wrapped = {prefix + name: tensor for name, tensor in state.items()}
        wrapped |= {"criterion.weight": torch.ones(5), "val_acc.tp": torch.ones(5).long()}
        wrapped |= {"global_step": torch.tensor(7), "epoch": torch.tensor(1), "ce.weight": torch.ones(5)}
        model = preact(state=wrapped)
        assert all(torch.equal(tensor, state[name]) for name, tensor in model.network.state_dict().items())
    assert (
        "leaving out 5 tensors: 'criterion', 'val_acc', 'global_step', 'epoch', 'ce' of the checkpoint" in caplog.text
    )
    assert "taking 'backbone.' off every name" in caplog.text


def test_of_a_network_and_its_average_the_network_is_taken() -> None:
    state = {
        name: torch.rand_like(each) if each.dim() else each for name, each in preact().network.state_dict().items()
    }
    both = {f"student.{name}": tensor for name, tensor in state.items()}
    both |= {f"teacher_ema.{name}": torch.zeros_like(tensor) for name, tensor in state.items()}
    assert torch.equal(preact(state=both).network.state_dict()["fc.weight"], state["fc.weight"])
    two = {f"{side}.{name}": tensor for name, tensor in state.items() for side in ("left", "right")}
    with pytest.raises(Mismatch, match=r"holds the network under 'left', 'right': say which, as in FILE:left"):
        preact(state=two)
    more = {f"backbone.{name}": tensor for name, tensor in state.items()} | {"head.weight": torch.zeros(2)}
    with pytest.raises(Mismatch, match=r"under 'backbone' and beside it 1 tensors: 'head': .* as in FILE:backbone"):
        preact(state=more)


def test_a_head_alone_in_a_numbered_module_is_the_head() -> None:
    state = dict(preact().network.state_dict())
    moved = {name.replace("fc.", "fc.1."): tensor for name, tensor in state.items()}
    assert torch.equal(preact(state=moved).network.state_dict()["fc.weight"], state["fc.weight"])
    two = moved | {"fc.3.weight": state["fc.weight"], "fc.3.bias": state["fc.bias"]}
    with pytest.raises(Mismatch, match=r"lacks tensor 'fc\.weight'"):
        preact(state=two)


def test_what_is_in_the_checkpoint_is_named_where_it_does_not_fit() -> None:
    with pytest.raises(Mismatch, match=r"lacks tensor 'stem.weight' .*it holds 3 tensors: 'body' \(2\), 'scale'"):
        preact(state={"body.a": torch.ones(1), "body.b": torch.ones(1), "scale": torch.ones(1)})


class Tied(nn.Module):
    """A network that has one matrix under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.head.weight = self.embed.weight


def test_a_matrix_under_two_names_is_one_in_the_checkpoint_too() -> None:
    same, other = torch.rand(4, 4), torch.rand(4, 4)
    network = Tied()
    assert fitted({"embed.weight": same, "head.weight": same.clone()}, network)["head.weight"] is not None
    with pytest.raises(
        Mismatch, match=r"one tensor as 'embed.weight' and 'head.weight', which differ in the checkpoint"
    ):
        fitted({"embed.weight": same, "head.weight": other}, network)
    # A file that holds such a matrix once, as safetensors does, is complete.
    for name in ("embed.weight", "head.weight"):
        assert torch.equal(fitted({name: same}, network)["embed.weight"], same)
    with pytest.raises(Mismatch, match=r"lacks tensor 'embed\.weight'"):
        fitted({"other.weight": same}, network)


def logits_of(network: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        out: Tensor = network.eval()(x)
    return out


def older_swin(state: Mapping[str, Tensor]) -> State:
    """As timm before 0.8 and the authors have it: pooling at the end of a stage, tables as buffers."""
    old = {}
    for name, tensor in state.items():
        match = re.match(r"layers\.(\d+)\.downsample\.(.*)", name)
        moved = f"layers.{int(match[1]) - 1}.downsample.{match[2]}" if match else name.replace("head.fc.", "head.")
        old[moved] = tensor
    old["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49, dtype=torch.int64)
    old["layers.0.blocks.1.attn_mask"] = torch.zeros(64, 49, 49)
    return old


def authors_convnext(state: Mapping[str, Tensor]) -> State:
    renamed = {}
    for name, tensor in state.items():
        new = re.sub(r"^stem\.(\d)", r"downsample_layers.0.\1", name)
        new = re.sub(r"^stages\.(\d)\.downsample\.(\d)", r"downsample_layers.\1.\2", new)
        new = re.sub(r"^stages\.(\d)\.blocks\.(\d+)\.", r"stages.\1.\2.", new).replace("conv_dw", "dwconv")
        new = new.replace("mlp.fc1", "pwconv1").replace("mlp.fc2", "pwconv2")
        renamed[new.replace("head.fc.", "head.").replace("head.norm.", "norm.")] = tensor
    return renamed


SMALL: dict[str, dict[str, Any]] = {
    "swin_tiny_patch4_window7_224": {"depths": (1, 1, 1, 1), "embed_dim": 12, "num_heads": (1, 2, 2, 2)},
    "convnext_atto": {"depths": (1, 1, 1, 1), "dims": (4, 4, 8, 8)},
}


@pytest.mark.parametrize(
    ("architecture", "older"), [("swin_tiny_patch4_window7_224", older_swin), ("convnext_atto", authors_convnext)]
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_older_names_give_the_logits_of_todays(
    architecture: str, older: Callable[[Mapping[str, Tensor]], State], prefix: str
) -> None:
    torch.manual_seed(0)
    network = timm.create_model(architecture, num_classes=3, **SMALL[architecture])
    state = {prefix + name: tensor for name, tensor in older(network.state_dict()).items()}
    model = build_model(architecture, num_classes=3, state=state, **SMALL[architecture])
    x = torch.rand(2, 3, 224, 224)
    torch.testing.assert_close(logits_of(model.network, x), logits_of(network, x))


def test_position_embeddings_of_another_size_are_resampled_as_timm_does(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    small: dict[str, Any] = {"embed_dim": 12, "depth": 1, "num_heads": 2, "num_classes": 3}
    torch.manual_seed(0)
    at_224 = timm.create_model("vit_tiny_patch16_224", **small)
    model = build_model("vit_tiny_patch16_224", state=at_224.state_dict(), img_size=160, **small)
    network = timm.create_model("vit_tiny_patch16_224", img_size=160, **small)
    network.load_state_dict(checkpoint_filter_fn(dict(at_224.state_dict()), network))
    x = torch.rand(2, 3, 160, 160)
    torch.testing.assert_close(logits_of(model.network, x), logits_of(network, x), rtol=0, atol=0)
    assert "the checkpoint is adapted as timm does for VisionTransformer" in caplog.text
    with pytest.raises(Mismatch, match=r"'head.weight' has shape \(3, 12\) in the checkpoint, .* wants \(4, 12\)"):
        build_model("vit_tiny_patch16_224", state=at_224.state_dict(), **small | {"num_classes": 4})


def moved(seed: int = 0) -> State:
    state = preact().network.state_dict()
    return {name: torch.rand_like(each) if each.dim() else each + 3 for name, each in state.items()}


def test_backbone_and_head_under_names_of_their_own_are_one_network() -> None:
    state = moved()
    parts = {("head." if name.startswith("fc.") else "backbone.") + name: each for name, each in state.items()}
    for given in (parts, {f"module.{name}": each for name, each in parts.items()}):
        found = preact(state=given).network.state_dict()
        assert all(torch.equal(found[name], state[name]) for name in state)
    with pytest.raises(Mismatch, match="lacks tensor"):
        preact(state=parts | {"neck.weight": torch.zeros(2)})
    with pytest.raises(Mismatch, match="lacks tensor"):
        preact(state={name: each for name, each in parts.items() if name != "head.fc.bias"})


@pytest.mark.parametrize("wrapper", ["module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"])
def test_wrappers_inside_names_are_taken_out(wrapper: str) -> None:
    state = moved()
    given = {re.sub(r"^blocks\.(\d+)\.", rf"blocks.\1.{wrapper}.", name): each for name, each in state.items()}
    assert set(given) != set(state)
    found = preact(state=given).network.state_dict()
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_filters_of_timm_that_take_the_checkpoint_alone_serve_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def older(state: State) -> State:
        return {name.replace("classifier.", "fc."): tensor for name, tensor in state.items()}

    monkeypatch.setattr(timm.models.resnet, "_filter_fn", older, raising=False)
    network = timm.create_model("resnet10t", num_classes=3)
    theirs = {name.replace("fc.", "classifier."): tensor for name, tensor in network.state_dict().items()}
    found = build_model("resnet10t", num_classes=3, state=theirs).network.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in network.state_dict().items())


def test_a_filter_that_fails_leaves_the_misfit_to_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(state: State, network: nn.Module) -> State:
        raise KeyError("some name")

    monkeypatch.setattr(timm.models.resnet, "checkpoint_filter_fn", failing, raising=False)
    with pytest.raises(Mismatch, match=r"lacks tensor 'conv1.0.weight' .* it holds 1 tensors: 'stem'"):
        build_model("resnet10t", num_classes=3, state={"stem.weight": torch.zeros(1)})
