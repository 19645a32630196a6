"""Checkpoints into networks: from the names of other code, of wrappers and of older versions of timm to the network's.

The tables of names are in `seasoning.checkpoints.adapters`; here the network decides what is wanted.
"""

import logging
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from seasoning.checkpoints.adapters import (
    COUNTER,
    Family,
    bare,
    family_of,
    is_beside,
    translated,
    whole_under,
)
from seasoning.checkpoints.branches import holds_branches, main_branch
from seasoning.checkpoints.constants import Constants, carried, kind_of
from seasoning.checkpoints.contents import groups, is_average
from seasoning.checkpoints.load import State
from seasoning.errors import Mismatch
from seasoning.models.resnet import ResidualNetwork


__all__ = ["adapt_keys", "carried_normalization", "fitted"]

_log = logging.getLogger(__name__)

# What timm calls the function of a module that adapts the checkpoints of its networks.
_FILTERS = ("checkpoint_filter_fn", "_filter_fn", "pretrained_filter_fn")


def fitted(state: State, network: nn.Module) -> State:
    """The tensors of a checkpoint as a network takes them, each of its names with the right shape.

    Names are adapted as by `adapt_keys`. What then does not fit goes through the function that timm keeps for
    checkpoints of the architecture: older names, and position embeddings of another size.

    Args:
        state: Names and tensors of the checkpoint.
        network: The network that is to take them.

    Raises:
        Mismatch: they do not fit: the first tensor that differs is named with both shapes. Or the network has one
            tensor under two names, and the checkpoint two that differ.
    """
    own = network.state_dict()
    tensors = adapt_keys(state, network)
    problem = _misfit(tensors, own)
    if problem is not None:
        others = _by_timm(tensors, network)
        if others is None or _misfit(others, own) is not None:
            raise Mismatch(f"{problem}; it holds {groups(list(state))}")
        _log.info("the checkpoint is adapted as timm does for %s", type(network).__name__)
        tensors = others
    _require_tied(tensors, own)
    return tensors


def adapt_keys(state: State, network: nn.Module) -> State:
    """The tensors of a checkpoint under the names of a network.

    Prefixes are taken off, names of the families in `seasoning.checkpoints.adapters` become ours, and normalization
    constants (see `carried_normalization`), losses and metrics are left out. Of normalization layers with branches, as
    AdvProp trains them, a network without gets the main one. The counters of batch normalization, which old checkpoints
    lack, start at zero; of tensors that the network has under two names, one is enough. A state whose names are the
    network's is returned as it is. Shapes are not looked at, and names that no table knows stay, for the caller to
    refuse.

    Args:
        state: Names and tensors of the checkpoint.
        network: The network that is to take them; tables of other families apply to `ResidualNetwork` only.

    Raises:
        Mismatch: the checkpoint is of a family whose arithmetic the network does not follow, and the message names the
            option to build it with; or it holds the network several times, or more than the network.
    """
    own = network.state_dict()
    if set(state) == set(own):
        return state
    if holds_branches(state) and not holds_branches(own):
        _log.info("taking the main branch of the checkpoint's normalization layers")
        return adapt_keys(main_branch(state), network)
    ours, names = bare(own), bare(state)
    beside = [given for name, given in names.items() if name not in ours and is_beside(name)]
    if beside:
        _log.info("leaving out %s of the checkpoint, which are of a loss or a metric, or count steps", groups(beside))
    names = {name: given for name, given in names.items() if name in ours or not _beside(name)}
    wanted = [name for name in ours if not name.endswith(COUNTER)]
    family = family_of(names)
    if family is not None and isinstance(network, ResidualNetwork):
        _require_same_arithmetic(family, names, network)
        names = translated(family, names)
    elif not all(name in names for name in wanted):
        names = _out_of_modules(_put_together(_under_its_prefix(names, wanted), wanted), wanted)
    adapted = {ours.get(name, name): state[given] for name, given in names.items()}
    for name in own:
        if name.endswith(COUNTER):
            adapted.setdefault(name, torch.zeros_like(own[name]))
    for names_of_one in _tied(own):
        there = next((name for name in names_of_one if name in adapted), None)
        if there is not None:
            adapted |= {name: adapted[there] for name in names_of_one if name not in adapted}
    return adapted


def carried_normalization(state: State, network: nn.Module, given: Constants | None = None) -> Constants | None:
    """Mean and standard deviation that a checkpoint holds beside the tensors of the network.

    Args:
        state: Names and tensors of the checkpoint.
        network: The network that is to take it; constants that are its own buffers do not count.
        given: By what the caller says that it normalizes images.

    Returns:
        One number for each channel or one for all, or `None` where the checkpoint holds none.

    Raises:
        Mismatch: only one of the two is there, several differ, or they are impossible.
    """
    ours = bare(network.state_dict())
    return carried(state, {own for name, own in bare(state).items() if name in ours}, given)


def _beside(name: str) -> bool:
    return kind_of(name) is not None or is_beside(name)


def _under_its_prefix(names: Mapping[str, str], wanted: Iterable[str]) -> Mapping[str, str]:
    """The names without the prefix under which the whole network lies; as they are where it lies under none.

    Raises:
        Mismatch: it lies under several, or something else lies beside it.
    """
    prefixes = whole_under(names, wanted)
    if len(prefixes) > 1:
        prefixes = [prefix for prefix in prefixes if not is_average(prefix)] or prefixes
    if not prefixes:
        return names
    if len(prefixes) > 1:
        listed = ", ".join(repr(prefix.rstrip(".")) for prefix in prefixes)
        raise Mismatch(f"the checkpoint holds the network under {listed}: say which, as in FILE:{prefixes[0][:-1]}")
    (prefix,) = prefixes
    others = [name for name in names if not name.startswith(prefix) and not is_average(name)]
    if others:
        raise Mismatch(
            f"the checkpoint holds the network under {prefix[:-1]!r} and beside it {groups(others)}: "
            f"to take the network alone, name it, as in FILE:{prefix[:-1]}"
        )
    _log.info("taking %r off every name", prefix)
    return {name.removeprefix(prefix): given for name, given in names.items() if name.startswith(prefix)}


def _put_together(names: Mapping[str, str], wanted: Iterable[str]) -> Mapping[str, str]:
    """Names of a network that lies in parts under prefixes of their own, such as a backbone and a head.

    Only where every layer of the checkpoint then has exactly one place.
    """
    parts: dict[str, list[str]] = {}
    for name in wanted:
        parts.setdefault(name.partition(".")[0], []).append(name)
    moved: dict[str, str] = {}
    for part in parts.values():
        prefix = next(iter(whole_under(names, part)), None)
        if prefix is None:
            return names
        moved |= {name: names[prefix + name] for name in part}
    counters = [name for name in names if name.endswith(COUNTER)]
    if len(set(moved.values())) < len(moved) or len(moved) + len(counters) < len(names):
        return names
    _log.info("putting together a network from parts under other names, such as %r", next(iter(moved.values())))
    layer_names = {given: name.rpartition(".")[0] for name, given in moved.items()}
    layers = {given.rpartition(".")[0]: layer for given, layer in layer_names.items()}
    for name in counters:
        layer = layers.get(names[name].rpartition(".")[0])
        moved |= {} if layer is None else {f"{layer}.{COUNTER}": names[name]}
    return moved


def _out_of_modules(names: Mapping[str, str], wanted: Iterable[str]) -> dict[str, str]:
    """Layers that stand alone in a numbered module of their own, such as a head behind dropout, as the layers."""
    inside: dict[str, set[str]] = {}
    for name in names:
        match = re.fullmatch(r"(.+)\.(\d+)\.\w+", name)
        if match:
            inside.setdefault(match[1], set()).add(match[2])
    moved = {}
    for name, given in names.items():
        match = re.fullmatch(r"(.+)\.(\d+)(\.\w+)", name)
        alone = match is not None and len(inside[match[1]]) == 1 and f"{match[1]}{match[3]}" in wanted
        moved[f"{match[1]}{match[3]}" if match and alone and name not in wanted else name] = given
    return moved


def _misfit(tensors: State, own: State) -> str | None:
    """The first tensor in which a checkpoint and a network differ, in words."""
    for name, tensor in own.items():
        if name not in tensors:
            return f"the checkpoint lacks tensor {name!r} of shape {tuple(tensor.shape)}"
        if tensors[name].shape != tensor.shape:
            given, wanted = tuple(tensors[name].shape), tuple(tensor.shape)
            first = next((name for name, tensor in own.items() if tensor.dim() == 4), None)
            if name == first and len(given) == 4 and given == (wanted[0], 1, *wanted[2:]):
                return f"tensor {name!r} takes 1 channel in the checkpoint, {wanted[1]} here: build it with in_chans=1"
            return f"tensor {name!r} has shape {given} in the checkpoint, the architecture wants {wanted}"
    extra = next((name for name in tensors if name not in own), None)
    if extra is None:
        return None
    return f"the checkpoint's tensor {extra!r} of shape {tuple(tensors[extra].shape)} has no place in the architecture"


def _by_timm(tensors: State, network: nn.Module) -> State | None:
    """What timm's function for checkpoints of this architecture makes of them; `None` where it has none or fails."""
    module = sys.modules.get(type(network).__module__)
    adapt: Any = next((getattr(module, name) for name in _FILTERS if hasattr(module, name)), None)
    if adapt is None or not type(network).__module__.startswith("timm."):
        return None
    try:
        try:
            adapted = adapt(dict(tensors), network)
        except TypeError:  # older ones take the checkpoint alone
            adapted = adapt(dict(tensors))
    # A function for other checkpoints than this one may fail in any way; the misfit is reported instead.
    except Exception as error:
        _log.debug("timm does not adapt the checkpoint: %s", error)
        return None
    return adapted if isinstance(adapted, Mapping) else None


def _tied(own: State) -> list[list[str]]:
    """Names under which a network has one tensor."""
    found: dict[tuple[Any, ...], list[str]] = {}
    for name, tensor in own.items():
        if tensor.numel() and tensor.device.type != "meta":
            found.setdefault((tensor.data_ptr(), tensor.shape, tensor.stride()), []).append(name)
    return [names for names in found.values() if len(names) > 1]


def _require_tied(tensors: Mapping[str, Tensor], own: State) -> None:
    for first, *others in _tied(own):
        for name in others:
            if not torch.equal(tensors[first], tensors[name]):
                raise Mismatch(
                    f"the architecture has one tensor as {first!r} and {name!r}, which differ in the checkpoint: "
                    "it is of a network that does not share them"
                )


def _require_same_arithmetic(family: Family, names: Iterable[str], network: ResidualNetwork) -> None:
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
