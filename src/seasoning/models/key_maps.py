"""From the names of the field's usual checkpoints to ours.

Research code wraps networks in other modules and calls the same layers by other names. What is known of the families is
written as tables; what the names cannot tell (activation, where a shortcut reads) is an option of the architecture.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seasoning.checkpoints.load import State
from seasoning.errors import Mismatch
from seasoning.models.resnet import ResidualNetwork


__all__ = ["adapt_keys", "carried_normalization"]

_log = logging.getLogger(__name__)

# What data parallelism, compilation, `nn.Sequential(normalize, network)` and classes that normalize put before names.
_WRAPPERS = ("module.", "_orig_mod.", "model.", "network.", "net.", "1.")
_CONSTANTS = {
    "mean": re.compile(r"(?:.*\.)?(?:mean|mu|new_mean)"),
    "std": re.compile(r"(?:.*\.)?(?:std|sigma|new_std)"),
}
_COUNTER = "num_batches_tracked"


class _Family(NamedTuple):
    """How one line of code names its layers.

    Args:
        title: Whose names they are.
        marker: A tensor that only this family has.
        block: Pattern of a block's name; its groups are the numbers of the stage and of the block.
        inside: Layers of a block, theirs to ours.
        outside: The other layers.
        styles: Styles of blocks that these checkpoints can have, the usual one first.
        dropped: Prefix of layers that the forward pass never uses.
    """

    title: str
    marker: str
    block: str
    inside: Mapping[str, str]
    outside: Mapping[str, str]
    styles: tuple[str, ...]
    dropped: str = ""


_NUMBERED = {"bn1": "norm1", "conv1": "conv1", "bn2": "norm2", "conv2": "conv2"}

_FAMILIES = (
    # The shortcut convolution reads relu(bn1(x)). Learnable-boundary-guided training left a sub_block1 without use.
    _Family(
        title="the WideResNet of TRADES",
        marker="block1.layer.0.conv1.weight",
        block=r"block(\d+)\.layer\.(\d+)",
        inside={**_NUMBERED, "convShortcut": "shortcut"},
        outside={"conv1": "stem", "bn1": "norm", "fc": "fc"},
        styles=("standard",),
        dropped="sub_block1.",
    ),
    # The same names for two networks: the shortcut reads relu(bn1(x)) in the code of robust overfitting and of robust
    # fine-tuning (E-AT), and x itself in that of fast adversarial training.
    _Family(
        title="the PreAct-ResNet of pytorch-cifar",
        marker="layer1.0.conv1.weight",
        block=r"layer(\d+)\.(\d+)",
        inside={**_NUMBERED, "shortcut.0": "shortcut"},
        outside={"conv1": "stem", "bn": "norm", "linear": "fc", "fc": "fc"},
        styles=("standard", "raw-shortcut"),
    ),
    # The shortcut reads relu(batchnorm_0(x)); convolutions of stride 2 pad at the right and the bottom only.
    _Family(
        title="DeepMind's WideResNet",
        marker="layer.0.block.0.conv_0.weight",
        block=r"layer\.(\d+)\.block\.(\d+)",
        inside={
            "batchnorm_0": "norm1",
            "conv_0": "conv1",
            "batchnorm_1": "norm2",
            "conv_1": "conv2",
            "shortcut": "shortcut",
        },
        outside={"init_conv": "stem", "batchnorm": "norm", "logits": "fc"},
        styles=("deepmind-wide",),
    ),
    # The same padding; the shortcut is a 3x3 convolution that reads x itself.
    _Family(
        title="DeepMind's PreAct-ResNet",
        marker="layer_0.0.conv_2d_1.weight",
        block=r"layer_(\d+)\.(\d+)",
        inside={
            "batchnorm_0": "norm1",
            "conv_2d_1": "conv1",
            "batchnorm_1": "norm2",
            "conv_2d_2": "conv2",
            "shortcut": "shortcut",
        },
        outside={"conv_2d": "stem", "batchnorm": "norm", "logits": "fc"},
        styles=("deepmind-preact",),
    ),
)


def adapt_keys(state: State, network: nn.Module) -> State:
    """The tensors of a checkpoint under the names of a network.

    Prefixes of wrappers are taken off, names of the families in this module become ours, normalization constants are
    left out (see `carried_normalization`), and the counters of batch normalization, which old checkpoints lack, start
    at zero. A state whose names are the network's is returned as it is. Shapes are not looked at, and names that no
    table knows stay, for the caller to refuse.

    Args:
        state: Names and tensors of the checkpoint.
        network: The network that is to take them; tables of other families apply to `ResidualNetwork` only.

    Raises:
        Mismatch: the checkpoint is of a family whose arithmetic the network does not follow; the message names the
            option to build it with.
    """
    own = network.state_dict()
    if set(state) == set(own):
        return state
    bare, ours = _bare(state), _bare(own)
    bare = {name: given for name, given in bare.items() if name in ours or _kind(name) is None}
    family = next((each for each in _FAMILIES if each.marker in bare), None)
    if family is not None and isinstance(network, ResidualNetwork):
        _require_same_arithmetic(family, bare, network)
        bare = _translated(family, bare)
    adapted = {ours.get(name, name): state[given] for name, given in bare.items()}
    lacking = [name for name in own if name.endswith(_COUNTER) and name not in adapted]
    return {**adapted, **{name: torch.zeros_like(own[name]) for name in lacking}}


def carried_normalization(state: State, network: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Mean and standard deviation that a checkpoint holds beside the tensors of the network.

    Args:
        state: Names and tensors of the checkpoint.
        network: The network that is to take it; constants that are its own buffers do not count.

    Returns:
        Both as `(C,)` or `(1,)`, or `None` where the checkpoint holds none.

    Raises:
        Mismatch: only one of the two is there, several differ, or they are impossible.
    """
    ours = _bare(network.state_dict())
    found: dict[str, tuple[str, Tensor]] = {}
    for name, given in _bare(state).items():
        kind = None if name in ours else _kind(name)
        if kind is None:
            continue
        values = state[given].flatten()
        if kind in found and not torch.equal(found[kind][1], values):
            raise Mismatch(f"the checkpoint holds two normalizations that differ: {found[kind][0]!r} and {given!r}")
        found[kind] = given, values
    if len(found) == 1:
        ((kind, (given, _)),) = found.items()
        other = "std" if kind == "mean" else "mean"
        raise Mismatch(f"the checkpoint holds a normalization {kind} ({given!r}) and no {other}")
    if not found:
        return None
    mean, std = found["mean"][1], found["std"][1]
    if not (mean.isfinite().all() and std.isfinite().all() and (std > 0).all()):
        raise Mismatch(f"the checkpoint's normalization is impossible: mean {mean.tolist()}, std {std.tolist()}")
    return mean, std


def _bare(names: Iterable[str]) -> dict[str, str]:
    """Names without the prefixes that all of them have, constants aside, to the names as given."""
    bare = {name: name for name in names}
    while True:
        layers = [name for name in bare if _kind(name) is None]
        prefix = next((each for each in _WRAPPERS if all(name.startswith(each) for name in layers)), None)
        if prefix is None or not layers:
            return bare
        bare = {name.removeprefix(prefix): given for name, given in bare.items()}


def _kind(name: str) -> str | None:
    """`"mean"` or `"std"` if a tensor of this name is a constant of normalization."""
    return next((kind for kind, pattern in _CONSTANTS.items() if pattern.fullmatch(name)), None)


def _require_same_arithmetic(family: _Family, names: Iterable[str], network: ResidualNetwork) -> None:
    if network.style not in family.styles:
        raise Mismatch(
            f"the checkpoint has the names of {family.title}, whose blocks compute something else than those of style "
            f"{network.style!r}: build the architecture with style={family.styles[0]!r}"
        )
    last = next(theirs for theirs, mine in family.outside.items() if mine == "norm")
    if f"{last}.weight" not in names:
        raise Mismatch(
            f"the checkpoint has the names of {family.title} but no normalization {last!r} before its linear layer: it "
            "is of an older variant, or a network that normalizes after its convolutions; ours are neither"
        )
    _log.info("the checkpoint has the names of %s; blocks of style %r take it", family.title, network.style)


def _translated(family: _Family, names: Mapping[str, str]) -> dict[str, str]:
    """Names of a family, each to the name as given, under our names."""
    # Their stages are counted one by one, our blocks through all of them.
    matches = {match.group(): match for match in (re.match(family.block + r"(?=\.)", name) for name in names) if match}
    ordered = sorted(matches, key=lambda block: tuple(map(int, matches[block].groups())))
    numbers = {block: number for number, block in enumerate(ordered)}
    found = {}
    for name, given in names.items():
        if family.dropped and name.startswith(family.dropped):
            continue
        layer, _, tensor = name.rpartition(".")
        match = re.match(family.block + r"\.", name)
        if match:
            block, inside = match.group()[:-1], layer[match.end() :]
            mine = f"blocks.{numbers[block]}.{family.inside[inside]}" if inside in family.inside else None
        else:
            mine = family.outside.get(layer)
        found[name if mine is None else f"{mine}.{tensor}"] = given
    return found
