"""Networks with two branches of normalization, which share everything else: one for clean images, one for attacked.

Attacked images follow another distribution, so that one set of statistics, scales and shifts serves neither kind well.
A plain network becomes a branched one by `split_norms`; it goes on computing what it did, through its main branch, and
its parameters keep their names. `auxiliary_branch` is where the others are.

Source: Xie et al. 2020, *Adversarial examples improve image recognition*, section 4.2.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from seasoning.checkpoints.branches import AUXILIARY
from seasoning.errors import BadInput


__all__ = ["auxiliary_branch", "split_norms"]

_NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)


def split_norms(network: nn.Module) -> None:
    """Give every normalization layer of a network an auxiliary branch that starts as its copy; changed in place.

    The branch of a layer `norm1` lies in it as `norm1.aux_bn.0`, as in timm's split batch norm.

    Raises:
        BadInput: the network has no layer of batch, layer or group normalization, or has branches already.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, _NORMS)]
    if not layers:
        raise BadInput(
            f"{type(network).__name__} has no batch, layer or group normalization to split into branches: choose "
            "another architecture, or an objective with one branch"
        )
    if any(hasattr(layer, AUXILIARY) for layer in layers):
        raise BadInput(f"the normalization layers of {type(network).__name__} have branches already")
    for layer in layers:
        layer.add_module(AUXILIARY, nn.ModuleList([copy.deepcopy(layer)]))


@contextmanager
def auxiliary_branch(model: nn.Module) -> Iterator[None]:
    """The block runs through the auxiliary branch: neither parameters nor statistics of the main one are in the model.

    Raises:
        BadInput: no layer has an auxiliary branch.
    """
    places = [
        (parent, name, layer)
        for parent in model.modules()
        for name, layer in parent._modules.items()
        if layer is not None and hasattr(layer, AUXILIARY)
    ]
    if not places:
        raise BadInput(f"the normalization layers of {type(model).__name__} have no branches: split them first")
    try:
        for parent, name, layer in places:
            setattr(parent, name, getattr(layer, AUXILIARY)[0])
        yield
    finally:
        for parent, name, layer in places:
            setattr(parent, name, layer)
