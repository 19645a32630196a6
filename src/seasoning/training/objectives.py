"""What training lowers: a mean loss on one batch, as a function of the model.

For one threat: `adversarial`, and `advprop`, which is after clean accuracy. For several: MAX, SAT, AVG, E-AT and MSD,
which differ in the images that they train on.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from seasoning import losses
from seasoning.errors import BadInput, UnknownName
from seasoning.models.split_norm import auxiliary_branch
from seasoning.noise import derived_seed, use_seed
from seasoning.threat import Threat
from seasoning.training.attack import (
    TrainingAttack,
    attack_batch,
    attack_mode,
    attack_to_random_classes,
    require_steps,
    unwrapped,
)
from seasoning.training.msd import multi_steepest


__all__ = [
    "OBJECTIVES",
    "BatchLoss",
    "OneOf",
    "Outer",
    "TrainingObjective",
    "adversarial",
    "advprop",
    "average",
    "eat",
    "make_objective",
    "maximum",
    "msd",
    "nominal",
    "sat",
]

NOTHING: Mapping[str, float] = {}


class BatchLoss(NamedTuple):
    """What an objective makes of a batch.

    Args:
        loss: Mean loss, with its graph.
        right: Which of the images trained on were classified correctly, `(B,)`; under AVG in all their versions.
        state: What the objective carries to the next batch, and into a checkpoint: sums over images, by name.
    """

    loss: Tensor
    right: Tensor
    state: Mapping[str, float] = NOTHING


class TrainingObjective(Protocol):
    """What training minimizes, batch by batch."""

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, *, seed: int, state: Mapping[str, float]) -> BatchLoss:
        """Loss at images `(B, C, H, W)` in [0, 1]; `seed` is that of this step.

        Labels are classes `(B,)` or, smoothed or mixed, `(B, K)`.
        """
        ...


def _hits(logits: Tensor, y: Tensor) -> Tensor:
    """Which predictions are right, `(B,)`; under soft labels, the class that an image has most of."""
    return logits.detach().argmax(1) == (y if y.dim() == 1 else y.argmax(1))


class Outer(NamedTuple):
    """The loss at the attacked images.

    Args:
        name: `"ce"`: cross-entropy there. `"trades"`: cross-entropy at the clean images, plus `beta` times the
            divergence of the prediction at the attacked ones from that at the clean ones.
        beta: Weight of that divergence.

    Source: Madry et al. 2018, *Towards deep learning models resistant to adversarial attacks*, equation 2.1; Zhang et
    al. 2019, *Theoretically principled trade-off between robustness and accuracy*, equation 5.
    """

    name: Literal["ce", "trades"] = "ce"
    beta: float = 6.0

    def __call__(self, model: nn.Module, x: Tensor, attacked: Tensor, y: Tensor) -> BatchLoss:
        """Mean loss of a batch, and which attacked images are classified correctly."""
        if self.name == "ce":
            logits = model(attacked)
            return BatchLoss(functional.cross_entropy(logits, y), _hits(logits, y))
        clean, logits = model(x), model(attacked)
        apart = losses.kl_divergence(logits, clean).mean()
        return BatchLoss(functional.cross_entropy(clean, y) + self.beta * apart, _hits(logits, y))


_ATTACK, _OUTER = TrainingAttack(), Outer()


class OneOf(NamedTuple):
    """An objective that is drawn for each batch; where a batch goes in parts, `draw` gives the one for all of them.

    Args:
        choices: What is drawn from.
        weights: How likely each is, in proportion, from what the objective carried up to the batch.
    """

    choices: Sequence[TrainingObjective]
    weights: Callable[[Mapping[str, float]], Sequence[float]]

    def draw(self, seed: int, state: Mapping[str, float]) -> TrainingObjective:
        """The choice for a batch with this seed, and with what was carried to its beginning."""
        return self.choices[_draw(seed, self.weights(state))]

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, *, seed: int, state: Mapping[str, float]) -> BatchLoss:
        """Loss at a whole batch."""
        return self.draw(seed, state)(model, x, y, seed=seed, state=state)


def nominal() -> TrainingObjective:
    """Cross-entropy at the clean images."""

    def batch_loss(model: nn.Module, x: Tensor, y: Tensor, *, seed: int, state: Mapping[str, float]) -> BatchLoss:
        logits = model(x)
        return BatchLoss(functional.cross_entropy(logits, y), _hits(logits, y))

    return batch_loss


def adversarial(threat: Threat, attack: TrainingAttack = _ATTACK, outer: Outer = _OUTER) -> TrainingObjective:
    """The loss at the images of highest loss that AutoPGD finds within one threat.

    Source: Madry et al. 2018, *Towards deep learning models resistant to adversarial attacks*; Croce et al. 2023,
    appendix B.1.
    """
    require_steps(attack)

    def batch_loss(model: nn.Module, x: Tensor, y: Tensor, *, seed: int, state: Mapping[str, float]) -> BatchLoss:
        return outer(model, x, attack_batch(model, x, y, threat, attack, seed).x_adv, y)

    return batch_loss


def advprop(threat: Threat, attack: TrainingAttack = _ATTACK) -> TrainingObjective:
    """AdvProp: cross-entropy at the clean images through the main branch, plus that at attacked ones through the other.

    The network has both, see `split_norms`. Images are attacked towards random wrong classes, in the branch that is
    trained on them; everything but normalization is shared. It is right where both are.

    Raises:
        BadInput: an attack of no steps, or on another loss than the cross-entropy to those classes.

    Source: Xie et al. 2020, *Adversarial examples improve image recognition*, equation 3 and Algorithm 1.
    """
    require_steps(attack)
    if attack.loss != "ce":
        raise BadInput(
            f"objective 'advprop' with attack loss {attack.loss!r}: it goes towards random classes, use 'ce'"
        )

    def batch_loss(model: nn.Module, x: Tensor, y: Tensor, *, seed: int, state: Mapping[str, float]) -> BatchLoss:
        clean = model(x)
        labels = y if y.dim() == 2 else functional.one_hot(y, clean.shape[1]).to(x.dtype)
        with auxiliary_branch(model):
            logits = model(attack_to_random_classes(model, x, labels, threat, attack, seed))
        loss = functional.cross_entropy(clean, y) + functional.cross_entropy(logits, y)
        return BatchLoss(
            loss, torch.stack([each.detach().argmax(1) == labels.argmax(1) for each in (clean, logits)]).all(0)
        )

    return batch_loss


def maximum(threats: Sequence[Threat], attack: TrainingAttack = _ATTACK, outer: Outer = _OUTER) -> TrainingObjective:
    """MAX: every sample is trained on under the threat that gives it the highest loss.

    The losses are those of the attacks, in the mode in which they climb; where attacks raise another loss than the one
    trained on, that takes one forward pass for each threat more.

    Source: Tramèr & Boneh 2019, *Adversarial training and robustness for multiple perturbations*, section 4.1.
    """
    _require_several("max", threats, attack)
    same = (attack.loss, outer.name) in (("ce", "ce"), ("kl", "trades"))

    def batch_loss(model: nn.Module, x: Tensor, y: Tensor, *, seed: int, state: Mapping[str, float]) -> BatchLoss:
        found = [
            attack_batch(model, x, y, threat, attack, use_seed(seed, index)) for index, threat in enumerate(threats)
        ]
        losses_found = [result.loss for result in found]
        if not same:
            losses_found = [_losses(model, x, result.x_adv, y, attack, outer) for result in found]
        chosen = torch.stack(losses_found).argmax(0)
        attacked = torch.stack([result.x_adv for result in found])[chosen, torch.arange(len(x), device=x.device)]
        return outer(model, x, attacked, y)

    return batch_loss


def average(threats: Sequence[Threat], attack: TrainingAttack = _ATTACK, outer: Outer = _OUTER) -> TrainingObjective:
    """AVG: the mean of the losses under all threats.

    Source: Tramèr & Boneh 2019, *Adversarial training and robustness for multiple perturbations*, section 4.1.
    """
    _require_several("avg", threats, attack)

    def batch_loss(model: nn.Module, x: Tensor, y: Tensor, *, seed: int, state: Mapping[str, float]) -> BatchLoss:
        parts = []
        for index, threat in enumerate(threats):
            attacked = attack_batch(model, x, y, threat, attack, use_seed(seed, index)).x_adv
            parts.append(outer(model, x, attacked, y))
        loss = torch.stack([part.loss for part in parts]).mean()
        return BatchLoss(loss, torch.stack([part.right for part in parts]).all(0))

    return batch_loss


def sat(threats: Sequence[Threat], attack: TrainingAttack = _ATTACK, outer: Outer = _OUTER) -> TrainingObjective:
    """SAT: every batch is trained on under one threat, drawn evenly.

    Source: Madaan et al. 2021, *Learning to generate noise for multi-attack robustness*, stochastic adversarial
    training; Croce & Hein 2022, *Adversarial robustness against multiple and single l_p-threat models*.
    """
    _require_several("sat", threats, attack)
    return OneOf([adversarial(threat, attack, outer) for threat in threats], lambda state: [1.0] * len(threats))


def eat(threats: Sequence[Threat], attack: TrainingAttack = _ATTACK, outer: Outer = _OUTER) -> TrainingObjective:
    """E-AT: every batch is trained on under one threat, drawn in proportion to the robust errors so far.

    Meant for the two extremes, l_inf and l_1. The errors are those of the attacks since training began; while a threat
    was never drawn, all are equally likely.

    Source: Croce & Hein 2022, *Adversarial robustness against multiple and single l_p-threat models via quick
    fine-tuning of robust classifiers*, section 4.
    """
    _require_several("eat", threats, attack)

    def errors(state: Mapping[str, float]) -> list[float]:
        counts = [(state.get(f"{threat} fooled", 0.0), state.get(f"{threat} seen", 0.0)) for threat in threats]
        even = not all(seen for _, seen in counts)
        return [1.0 if even else fooled / seen for fooled, seen in counts]

    return OneOf([_counting(threat, attack, outer) for threat in threats], errors)


def _counting(threat: Threat, attack: TrainingAttack, outer: Outer) -> TrainingObjective:
    """`adversarial`, which also carries how many images it has seen and fooled."""

    def batch_loss(model: nn.Module, x: Tensor, y: Tensor, *, seed: int, state: Mapping[str, float]) -> BatchLoss:
        found = attack_batch(model, x, y, threat, attack, seed)
        more = {f"{threat} fooled": float(found.fooled.sum()), f"{threat} seen": float(len(x))}
        after = {**state, **{name: state.get(name, 0.0) + value for name, value in more.items()}}
        return outer(model, x, found.x_adv, y)._replace(state=after)

    return batch_loss


def msd(threats: Sequence[Threat], attack: TrainingAttack = _ATTACK, outer: Outer = _OUTER) -> TrainingObjective:
    """MSD: one attack for all threats, which at every step takes the steepest step of the norm that raises most.

    Raises:
        BadInput: an attack on another loss than the cross-entropy, whose gradient is not zero at the clean images.

    Source: Maini, Wong & Kolter 2020, *Adversarial robustness against the union of multiple perturbation models*.
    """
    _require_several("msd", threats, attack)
    if attack.loss != "ce":
        raise BadInput(f"objective 'msd' with attack loss {attack.loss!r}: it starts at the clean image, use 'ce'")
    if attack.steps_by_norm:
        raise BadInput(
            "objective 'msd' with steps_by_norm: its one attack takes a step of every norm at a time; leave them out"
        )

    def batch_loss(model: nn.Module, x: Tensor, y: Tensor, *, seed: int, state: Mapping[str, float]) -> BatchLoss:
        bare = unwrapped(model)
        with attack_mode(bare, attack.batch_norm):
            attacked = multi_steepest(bare, x, y, threats, steps=attack.steps, seed=seed)
        return outer(model, x, attacked, y)

    return batch_loss


# Objectives over several threats by the names of the literature.
OBJECTIVES: dict[str, Callable[[Sequence[Threat], TrainingAttack, Outer], TrainingObjective]] = {
    "max": maximum,
    "sat": sat,
    "avg": average,
    "eat": eat,
    "msd": msd,
}


def make_objective(
    name: str, threats: Sequence[Threat], attack: TrainingAttack | None = None, outer: Outer = _OUTER
) -> TrainingObjective:
    """The objective of a name: `"nominal"`, `"adversarial"`, `"advprop"` or a key of `OBJECTIVES`.

    Raises:
        UnknownName: there is no such objective.
        BadInput: threats without an attack, an attack without threats, too few or too many threats, or a loss at the
            attacked images that the objective does not take.
    """
    names = ("nominal", "adversarial", "advprop", *OBJECTIVES)
    if name not in names:
        raise UnknownName("objective", name, names)
    if name == "nominal":
        if threats or attack is not None:
            given = ", ".join(map(str, threats)) if threats else "an attack"
            raise BadInput(f"objective 'nominal' with {given}: it attacks nothing; choose another, or leave that out")
        return nominal()
    if attack is None:
        raise BadInput(f"objective {name!r} under {', '.join(map(str, threats))} without an attack: give its steps")
    if name in ("adversarial", "advprop"):
        if len(threats) != 1:
            several = f"{len(threats)} threats: give one, or choose one of {', '.join(OBJECTIVES)}"
            raise BadInput(f"objective {name!r} with {several}")
        if name == "adversarial":
            return adversarial(threats[0], attack, outer)
        if outer.name != "ce":
            raise BadInput(f"objective 'advprop' with loss {outer.name!r}: it lowers two cross-entropies, use 'ce'")
        return advprop(threats[0], attack)
    return OBJECTIVES[name](threats, attack, outer)


def _require_several(name: str, threats: Sequence[Threat], attack: TrainingAttack) -> None:
    require_steps(attack)
    if len(threats) < 2:
        raise BadInput(f"objective {name!r} with {len(threats)} threats: give at least two, or choose 'adversarial'")


def _draw(seed: int, weights: Sequence[float]) -> int:
    """An index in proportion to its weight, evenly where all are zero."""
    weights = weights if any(weights) else [1.0] * len(weights)
    generator = torch.Generator().manual_seed(derived_seed(seed, -1))
    return int(torch.multinomial(torch.tensor(weights, dtype=torch.float64), 1, generator=generator))


def _losses(model: nn.Module, x: Tensor, attacked: Tensor, y: Tensor, attack: TrainingAttack, outer: Outer) -> Tensor:
    """The loss trained on, sample by sample, in the mode of the attack, `(B,)`."""
    model = unwrapped(model)
    with attack_mode(model, attack.batch_norm), torch.no_grad():
        logits = model(attacked)
        return losses.cross_entropy(logits, y) if outer.name == "ce" else losses.kl_divergence(logits, model(x))
