"""What training lowers: a mean loss on one batch, as a function of the model."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from seasoning.attacks import apgd
from seasoning.threat import Threat


__all__ = ["Objective", "adversarial", "nominal"]

# (model, images (B, C, H, W) in [0, 1], classes (B,), seed of this step) -> mean loss
Objective = Callable[[nn.Module, Tensor, Tensor, int], Tensor]


def nominal() -> Objective:
    """Cross-entropy at the clean images."""

    def loss(model: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
        return functional.cross_entropy(model(x), y)

    return loss


def adversarial(threat: Threat, steps: int) -> Objective:
    """Cross-entropy at the images of highest loss that AutoPGD finds within a threat.

    Args:
        threat: Norm and radius.
        steps: Steps of the attack; the paper takes 10 on CIFAR-10.

    Source: Madry et al. 2018, *Towards deep learning models resistant to adversarial attacks*, equation 2.1; Croce et
    al. 2023, appendix B.1.
    """
    attack = partial(apgd, loss="ce", steps=steps, best_loss=True)

    def loss(model: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
        return functional.cross_entropy(model(attack(model, x, y, threat, seed=seed).x_adv), y)

    return loss
