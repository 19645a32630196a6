"""Networks with several normalization branches, as AdvProp trains them: one branch for clean images, one for attacked.

Sources: Xie et al. 2020, *Adversarial examples improve image recognition*; Croce et al. 2023, *Seasoning model soups*,
for mixing the two.
"""

from collections.abc import Sequence

from torch import Tensor

from seasoning.checkpoints.branches import AUXILIARY
from seasoning.checkpoints.load import State
from seasoning.errors import BadInput
from seasoning.soup.mix import mix


__all__ = ["mix_branches"]

# What stands between a layer's name and the number of its auxiliary branch.
_MARK = f".{AUXILIARY}."


def mix_branches(state: State, weights: Sequence[float]) -> dict[str, Tensor]:
    """A network with single normalization layers, from one whose layers have a branch for each kind of input.

    Args:
        state: Names and tensors of the branched network: beside `"bn1.weight"` there is `"bn1.aux_bn.0.weight"`, and
            so on for more branches.
        weights: One number for each branch, of sum 1: the main one, then the auxiliary ones in their order. (1, 0) is
            the network in its main mode, (0, 1) in its auxiliary one, bit for bit.

    Returns:
        Names and tensors of the plain network.

    Raises:
        BadInput: no layer has branches, or one has not as many as there are weights; and as `mix`.
        Mismatch: the branches of a layer differ in shape or type.
    """
    layers: dict[str, dict[int, dict[str, Tensor]]] = {}
    for name in state:
        layer, mark, rest = name.partition(_MARK)
        if mark:
            index, _, part = rest.partition(".")
            layers.setdefault(layer, {}).setdefault(int(index) + 1, {})[f"{layer}.{part}"] = state[name]
    if not layers:
        raise BadInput(f"no layer has branches: expected names such as 'bn1{_MARK}0.weight'")
    plain = {name: state[name] for name in state if _MARK not in name}
    for layer, auxiliary in layers.items():
        main = {name: plain[name] for name in plain if name.rpartition(".")[0] == layer}
        branches = [main, *(auxiliary[index] for index in sorted(auxiliary))]
        if len(branches) != len(weights):
            raise BadInput(
                f"layer {layer!r} has {len(branches)} branches for {len(weights)} weights: give one for each"
            )
        plain |= mix(branches, weights)
    return plain
