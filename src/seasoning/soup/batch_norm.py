"""Batch norm in soups: what becomes of running statistics when parameters are mixed.

The policies, by the names that a soup's provenance gives them:

- `"mix"` averages means and variances like parameters. Weights below 0 can make a variance negative: that is refused.
- `"geometric"` averages the logarithms of the variances instead, which keeps them positive for every weight.
- `"clean"` and `"attacked"` mix first and then measure the statistics anew, on training images or on attacked ones.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from seasoning.errors import BadInput, UnknownName


__all__ = ["POLICIES", "geometric_mean", "recalibrate", "require_policy"]

POLICIES = ("mix", "geometric", "clean", "attacked")


def require_policy(policy: str) -> None:
    """Refuse a name that is no policy.

    Raises:
        UnknownName: naming the nearest.
    """
    if policy not in POLICIES:
        raise UnknownName("batch-norm policy", policy, POLICIES)


def geometric_mean(variances: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Weighted mean of running variances on a logarithmic scale, in float64; never negative, exact at weight 1.

    Args:
        variances: One for each ingredient, of one shape, at least 0.
        weights: One number for each, of sum 1; below 0 too.

    Raises:
        BadInput: a variance is negative.
    """
    if any(bool((variance < 0).any()) for variance in variances):
        raise BadInput("an ingredient has a negative running variance: check its file")
    # A channel that never varied has no logarithm; the smallest number that has one stands in for it.
    tiny = torch.finfo(torch.float64).tiny
    logarithms = torch.stack([variance.to(torch.float64).clamp_min(tiny).log() for variance in variances])
    numbers = torch.tensor(weights, dtype=torch.float64, device=logarithms.device)
    mean: Tensor = torch.tensordot(numbers, logarithms, dims=1).exp()
    return mean


def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Measure the running statistics of a model's batch-norm layers anew, in one pass over images; changed in place.

    Only those layers are in training mode during the pass; every batch counts by its number of images, so that a
    short last one does not weigh as much as the others. Parameters stay as they are, and modes are restored.

    Args:
        model: Images to logits.
        batches: Images, `(B, C, H, W)`, as the model should meet them: clean ones, or attacked ones made beforehand
            with the statistics frozen.

    Raises:
        BadInput: the model has no running statistics, or there are fewer than two images in all.

    Source: Izmailov et al. 2018, *Averaging weights leads to wider optima*, section 3.2.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    if not layers:
        raise BadInput("no batch-norm layer with running statistics in the model: there is nothing to recalibrate")
    with _measuring(model, layers), torch.no_grad():
        seen = 0
        for images in batches:
            # Batch norm needs two values a channel; single images may lack them.
            if len(images) < 2:
                continue
            seen += len(images)
            for layer in layers:
                layer.momentum = len(images) / seen
            model(images)
    if seen == 0:
        raise BadInput("recalibration met no batch of at least two images: give more")


@contextmanager
def _measuring(model: nn.Module, layers: Sequence[_BatchNorm]) -> Iterator[None]:
    """Batch-norm layers in training mode, everything else in evaluation mode; afterwards as before."""
    modes = [(module, module.training) for module in model.modules()]
    momenta = [layer.momentum for layer in layers]
    model.eval()
    try:
        for layer in layers:
            layer.train()
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
