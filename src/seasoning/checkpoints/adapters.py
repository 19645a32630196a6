"""Names of parameters: what wrappers, training scripts and other code make of them, and how several become one form.

Research code wraps networks in other modules and calls the same layers by other names. What is known of the families is
written as tables; what the names cannot tell (activation, where a shortcut reads) is an option of the architecture.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

from seasoning.checkpoints.constants import kind_of


__all__ = [
    "COUNTER",
    "FAMILIES",
    "Family",
    "bare",
    "family_of",
    "is_beside",
    "shared_names",
    "translated",
    "whole_under",
]

# What data parallelism, compilation, `nn.Sequential(normalize, network)` and classes that normalize put before names.
_WRAPPERS = ("module.", "_orig_mod.", "model.", "network.", "net.", "1.")
# Modules that these put in the middle of names.
_INNER = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# Counters of batch normalization, which old checkpoints lack.
COUNTER = "num_batches_tracked"
# What stands beside a network in the files of training scripts: losses with their class weights, metrics, and counts of
# epochs and steps, which are in no module.
_LOSS = r"loss(?:es|_fn|_func|_function)?|\w+_loss(?:es)?|criterion\w*|\w+_criterion|b?ce|cross_?entropy"
_METRIC = r"(?:\w+_)?(?:metrics?|acc(?:uracy)?\d*|f1(?:_score)?|auroc|auc|confmat)"
_COUNT = r"(?:(?:cur|current|global|last|num|n|start|total|train)_?)?(?:epoch|step|iter|iteration)s?"
_BESIDE = re.compile(rf"(?:{_LOSS}|{_METRIC})\..+|{_COUNT}")
_METRICS = re.compile(rf"(?:{_METRIC})\..+|{_COUNT}")


class Family(NamedTuple):
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

FAMILIES = (
    # The shortcut convolution reads relu(bn1(x)). Learnable-boundary-guided training left a sub_block1 without use.
    Family(
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
    Family(
        title="the PreAct-ResNet of pytorch-cifar",
        marker="layer1.0.conv1.weight",
        block=r"layer(\d+)\.(\d+)",
        inside={**_NUMBERED, "shortcut.0": "shortcut"},
        outside={"conv1": "stem", "bn": "norm", "linear": "fc", "fc": "fc"},
        styles=("standard", "raw-shortcut"),
    ),
    # The shortcut reads relu(batchnorm_0(x)); convolutions of stride 2 pad at the right and the bottom only.
    Family(
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
    Family(
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


def bare(names: Iterable[str]) -> dict[str, str]:
    """Names without the wrappers' prefixes that all layers have, and without wrappers inside, to the names as given.

    Constants, losses and metrics do not count as layers, and keep a name of their own.
    """
    found = {_unwrapped(name): name for name in names}
    while True:
        layers = [name for name in found if _is_layer(name)]
        prefix = next((wrapper for wrapper in _WRAPPERS if all(name.startswith(wrapper) for name in layers)), None)
        if prefix is None or not layers:
            return found
        found = {name.removeprefix(prefix): given for name, given in found.items()}


def is_beside(name: str) -> bool:
    """Whether a tensor of this name is of a loss or a metric, or counts steps, and was saved beside the network."""
    return _BESIDE.fullmatch(name) is not None


def family_of(names: Iterable[str]) -> Family | None:
    """The line of code whose names these are, where it is none of ours."""
    known = set(names)
    return next((family for family in FAMILIES if family.marker in known), None)


def whole_under(names: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Prefixes under which all wanted names are there, the shortest first; `""` where they are there as they are."""
    known, needed = set(names), list(wanted)
    if not needed:
        return []
    longest = max(needed, key=len)
    ends = (name.removesuffix(longest) for name in known if name.endswith(longest))
    prefixes = (end for end in ends if end == "" or end.endswith("."))
    return sorted((prefix for prefix in prefixes if all(prefix + name in known for name in needed)), key=len)


def shared_names(
    named: Sequence[Sequence[str]], called: Sequence[str]
) -> tuple[list[dict[str, str | None]], list[str]]:
    """One set of names for the tensors of several checkpoints, where they differ in names only.

    Prefixes of wrappers are taken off, names of the families in this module become ours, counters of batch
    normalization that a checkpoint lacks start at zero, and constants, losses and metrics that not all have are left
    out. Checkpoints that differ in more keep their names, for the caller to refuse.

    Args:
        named: The names of each.
        called: What each is called, for what is said.

    Returns:
        For each, the shared names to its own, `None` for a counter that it lacks; and what was done, in words.
    """
    layers = [{name: name for name in names if _is_layer(name)} for names in named]
    for step in (_as_they_are, _stripped, _ours):
        forms = step(layers)
        cores = [{name for name in form if not name.endswith(COUNTER)} for form in forms]
        if all(core == cores[0] for core in cores[1:]):
            break
    else:
        return [{name: name for name in names} for names in named], []
    notes = [f"{who}: {each}" for who, form in zip(called, forms, strict=True) if (each := _said(form))]
    counters = dict.fromkeys(name for form in forms for name in form if name.endswith(COUNTER))
    shared: list[dict[str, str | None]] = []
    for who, names, form in zip(called, named, forms, strict=True):
        lacking = [name for name in counters if name not in form]
        if lacking:
            notes.append(f"{who}: counters of batch normalization are not in it, and start at 0")
        others = {name for name in names if not _is_layer(name)}
        kept = {name for name in others if all(name in names for names in named) and not _METRICS.fullmatch(name)}
        if others - kept:
            notes.append(f"{who}: leaving out {', '.join(map(repr, sorted(others - kept)[:4]))}, which is no layer")
        own = {given: name for name, given in form.items()} | {name: name for name in kept}
        shared.append({own[name]: name for name in names if name in own} | dict.fromkeys(lacking))
    return shared, notes


def _unwrapped(name: str) -> str:
    """A name without the modules that wrappers put into its middle."""
    first, *inner = name.split(".")
    return ".".join([first, *(part for part in inner if part not in _INNER)])


def _is_layer(name: str) -> bool:
    return kind_of(name) is None and not is_beside(name)


def _as_they_are(layers: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    return [dict(tensors) for tensors in layers]


def _stripped(layers: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Names without what all of one checkpoint begin with, but for how all these beginnings end."""
    layers = [{_unwrapped(name): given for name, given in tensors.items()} for tensors in layers]
    prefixes = [_common_prefix(tensors) for tensors in layers]
    ends = zip(*(reversed(prefix.split(".")[:-1]) for prefix in prefixes), strict=False)
    kept = "".join(f"{end[0]}." for end in reversed(list(takewhile(lambda end: len(set(end)) == 1, ends))))
    return [
        {kept + name.removeprefix(prefix): given for name, given in layer.items()}
        for prefix, layer in zip(prefixes, layers, strict=True)
    ]


def _ours(layers: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Names of the families under our names."""
    forms = []
    for tensors in layers:
        inner = {_unwrapped(name): given for name, given in tensors.items()}
        prefix = _common_prefix(inner)
        plain = {name.removeprefix(prefix): given for name, given in inner.items()}
        family = family_of(plain)
        forms.append(plain if family is None else translated(family, plain))
    return forms


def _common_prefix(names: Iterable[str]) -> str:
    """The modules that all names begin with."""
    levels = zip(*(name.split(".")[:-1] for name in names), strict=False)
    return "".join(f"{level[0]}." for level in takewhile(lambda level: len(set(level)) == 1, levels))


def _said(form: Mapping[str, str]) -> str:
    """What became of the names of one checkpoint, in words."""
    changed = next(((given, name) for name, given in form.items() if name != given), None)
    return f"names are adapted, such as {changed[0]!r} to {changed[1]!r}" if changed else ""


def translated(family: Family, names: Mapping[str, str]) -> dict[str, str]:
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
