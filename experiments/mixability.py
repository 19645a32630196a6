"""How often `check_mixable` is wrong, on sets of ingredients whose soups are measured.

For four architectures and every base seed models are trained on the digits: a base, its fine-tuned copies (gentle to
violent, nominal and robust, with new heads), and trainings that share a third of their epochs, one epoch, the
initialization or nothing. Sets of two to four are checked, without and with a loss on 100 images. What is true is
measured on 400 others: a set is mixable if none of its uniform soups, of any two ingredients or of all, is more than 5
points less accurate than the worst ingredient in it; the others are called collapsing. About ten minutes on one core:

    python -m experiments.mixability
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from seasoning import Samples, Threat, build_model, check_mixable, load_source, mix, split_samples
from seasoning.checkpoints import State
from seasoning.models import PixelClassifier
from seasoning.report import percent
from seasoning.soup import Mixability
from seasoning.statistics import proportion
from seasoning.training import TrainingAttack, TrainingObjective, adversarial, cosine_rate, nominal


PARTS = split_samples(load_source("digits"), {"train": 900, "loss": 100, "truth": 400})
# The check's thresholds were chosen on the first seeds. The others had no part in that.
SEEDS = {"that chose the thresholds": (0, 1, 2), "that had no part in it": (3, 4, 5)}
COSINES, BARRIERS = (0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.9), (0.05, 0.1, 0.15, 0.25, 0.5, 1.0)
MOST_LOST = 0.05
BATCH = 64


class Family(NamedTuple):
    """An architecture, and how a network of it is trained: the usual learning rate and epochs from scratch."""

    name: str
    options: dict[str, Any]
    optimizer: Callable[..., torch.optim.Optimizer]
    rate: float
    epochs: int
    head: str


def sgd(parameters: Any, rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=5e-4, nesterov=True)


def adamw(parameters: Any, rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=rate)


FAMILIES = {
    "group norm": Family("resnet_small", {}, sgd, 0.1, 12, "fc"),
    "batch norm": Family("preact_resnet18", {"width": 8, "in_chans": 1}, sgd, 0.1, 10, "fc"),
    "batch norm, wide": Family("wide_resnet", {"depth": 10, "widen": 1, "in_chans": 1}, sgd, 0.1, 10, "fc"),
    "transformer": Family(
        "vit_tiny_patch16_224",
        {"img_size": 8, "patch_size": 2, "embed_dim": 32, "depth": 2, "num_heads": 2, "in_chans": 1},
        adamw,
        0.01,
        24,
        "head",
    ),
}


class Case(NamedTuple):
    """One set: what it is made of, the reports without and with the loss, and what its worst soup lost, in [-1, 1]."""

    family: str
    seed: int
    kind: str
    blind: Mixability
    seen: Mixability
    lost: float

    @property
    def mixable(self) -> bool:
        """What is true."""
        return self.lost <= MOST_LOST

    @property
    def cosine(self) -> float:
        """That of the least related pair."""
        return min(self.blind.cosines.values())

    @property
    def barrier(self) -> float:
        """The highest, the middle of all included; in nats."""
        return max(*self.seen.barriers.values(), self.seen.center or 0.0)


def built(family: Family, state: State | None, seed: int) -> PixelClassifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build_model(family.name, num_classes=10, state=state, **family.options)


def fit(
    family: Family,
    start: State | None,
    seed: int,
    *,
    heat: float = 1.0,
    epochs: int,
    objective: TrainingObjective | None = None,
) -> dict[str, torch.Tensor]:
    """Train from a start or from scratch; `heat` is the peak learning rate in units of the family's usual one."""
    model, lower = built(family, start, seed), nominal() if objective is None else objective
    model.train()
    optimizer = family.optimizer(model.network.parameters(), family.rate)
    generator = torch.Generator().manual_seed(seed)
    samples, steps, step = PARTS["train"], epochs * -(-len(PARTS["train"]) // BATCH), 0
    for _ in range(epochs):
        for rows in torch.randperm(len(samples), generator=generator).split(BATCH):
            for group in optimizer.param_groups:
                group["lr"] = heat * family.rate * cosine_rate(step, steps, 0.1)
            optimizer.zero_grad(set_to_none=True)
            lower(model, samples.x[rows], samples.y[rows], seed=step, state={}).loss.backward()
            nn.utils.clip_grad_norm_(model.network.parameters(), 1.0)
            optimizer.step()
            step += 1
    return {name: tensor.detach().clone() for name, tensor in model.network.state_dict().items()}


def with_new_head(family: Family, state: State, seed: int) -> State:
    fresh = built(family, None, seed).network.state_dict()
    return {name: fresh[name] if name.startswith(family.head + ".") else tensor for name, tensor in state.items()}


def sets(family: Family, seed: int) -> Iterator[tuple[str, list[State]]]:
    """Kinds of sets, and their ingredients."""
    full, robust = family.epochs, adversarial(Threat("linf", 0.15), TrainingAttack(steps=3))
    base, other = (fit(family, None, each, epochs=full) for each in (seed, seed + 100))

    def tuned(number: int, start: State = base, *, heat: float, epochs: int, **more: Any) -> State:
        return fit(family, start, seed + 1000 * number, heat=heat, epochs=epochs, **more)

    gentle = tuned(1, heat=0.1, epochs=3)
    usual = [tuned(number, heat=0.5, epochs=6) for number in (2, 3)]
    tough = tuned(4, heat=0.5, epochs=4, objective=robust)
    hot, hot_tough = tuned(5, heat=2.0, epochs=full), tuned(6, heat=2.0, epochs=8, objective=robust)
    yield "base, gentle fine-tune", [base, gentle]
    yield "two usual fine-tunes", usual
    yield "base, usual, robust", [base, usual[0], tough]
    yield "base, gentle, usual, robust", [base, gentle, usual[0], tough]
    yield "base, fine-tune at 2 x the rate", [base, hot]
    yield "fine-tune and robust one at 2 x, usual", [hot, hot_tough, usual[1]]
    for heat in (5, 10):
        yield f"two fine-tunes at {heat} x the rate", [tuned(heat + each, heat=heat, epochs=full) for each in (10, 20)]
    headed = [with_new_head(family, base, seed + 1000 * each) for each in (40, 41)]
    yield "two new heads", [tuned(40 + each, headed[each], heat=0.5, epochs=6) for each in (0, 1)]
    yield "two hardly trained heads", [tuned(42 + each, headed[each], heat=0.05, epochs=1) for each in (0, 1)]
    for part, epochs in (("a third", full // 3), ("one epoch", 1), ("initialization", 0)):
        start = fit(family, None, seed, epochs=epochs)
        forks = [tuned(50 + epochs + each, start, heat=1.0, epochs=full) for each in (0, 20)]
        yield f"two trainings forked after {part}", forks
    other_tough = fit(family, other, seed + 100, heat=0.5, epochs=4, objective=robust)
    yield "two independent", [base, other]
    yield "two independent, fine-tuned", [usual[0], other_tough]
    yield "base, usual, independent", [base, usual[0], other]
    yield "base, robust, independent, its robust", [base, tough, other, other_tough]


def measured(name: str, seed: int, kind: str, states: Sequence[State]) -> Case:
    """Check one set, and measure the uniform soups of every two of its ingredients and of all."""
    family = FAMILIES[name]

    def loss(state: State) -> float:
        return score(family, state, PARTS["loss"])[0]

    ends = [score(family, state, PARTS["truth"])[1] for state in states]
    members = {*combinations(range(len(states)), 2), tuple(range(len(states)))}
    lost = []
    for some in sorted(members):
        soup = mix([states[each] for each in some], (1 / len(some),) * len(some))
        lost.append(min(ends[each] for each in some) - score(family, soup, PARTS["truth"])[1])
    return Case(name, seed, kind, check_mixable(states), check_mixable(states, loss), max(lost))


def score(family: Family, state: State, samples: Samples) -> tuple[float, float]:
    """Mean cross-entropy in nats, and accuracy."""
    with torch.no_grad():
        logits = built(family, state, 0)(samples.x)
    return float(cross_entropy(logits, samples.y)), float((logits.argmax(1) == samples.y).float().mean())


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=list(FAMILIES), help="only these")
    parser.add_argument("--seeds", type=int, nargs="+", default=[*range(6)], help="only these")
    given = parser.parse_args()
    torch.set_num_threads(1)
    groups = {
        name: [
            measured(family, seed, kind, states)
            for seed in seeds
            if seed in given.seeds
            for family in given.families
            for kind, states in sets(FAMILIES[family], seed)
        ]
        for name, seeds in SEEDS.items()
        if set(seeds) & set(given.seeds)
    }
    print_errors(groups)
    for name, cases in groups.items():
        print_verdicts(name, cases)
    chosen, everything = next(iter(groups.values())), [case for cases in groups.values() for case in cases]
    print_distribution(
        "cosine of the least related pair", COSINES, [(case.cosine, case.mixable) for case in everything]
    )
    print_distribution("highest barrier, nats", BARRIERS, [(case.barrier, case.mixable) for case in everything])
    print_thresholds("refuse below cosine", COSINES, [(-case.cosine, case.mixable) for case in chosen], -1)
    print_thresholds("refuse above barrier", BARRIERS, [(case.barrier, case.mixable) for case in chosen], 1)
    print_kinds(everything)


def print_errors(groups: dict[str, list[Case]]) -> None:
    columns = ("seeds", "check", "mixable sets refused", "collapsing sets passed", "wrong, %")
    print(f"Errors\n\n| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for name, cases in groups.items():
        for check, report in CHECKS.items():
            wrong = np.array([report(case).mixable != case.mixable for case in cases])
            good = np.array([case.mixable for case in cases])
            refused, passed = f"{(wrong & good).sum()} of {good.sum()}", f"{(wrong & ~good).sum()} of {(~good).sum()}"
            print(f"| {name} | {check} | {refused} | {passed} | {percent(proportion(wrong))} |")


def print_verdicts(name: str, cases: Sequence[Case]) -> None:
    print(
        f"\nVerdicts, seeds {name}\n\n| verdict | {' | '.join(f'{check}: mixable | collapsing' for check in CHECKS)} |"
    )
    print(f"| --- |{' --- |' * 2 * len(CHECKS)}")
    for verdict in ("mix", "mix with care", "do not mix"):
        cells = [
            sum(report(case).verdict.partition(":")[0] == verdict for case in cases if case.mixable == truth)
            for report in CHECKS.values()
            for truth in (True, False)
        ]
        print(f"| {verdict} | {' | '.join(map(str, cells))} |")


def print_distribution(what: str, edges: Sequence[float], cases: Sequence[tuple[float, bool]]) -> None:
    """How many sets lie between every two edges, all seeds."""
    print(f"\nSets by {what}, all seeds\n\n| from | to | mixable | collapsing |\n| --- | --- | --- | --- |")
    for low, high in pairwise((-np.inf, *edges, np.inf)):
        inside = [truth for value, truth in cases if low <= value < high]
        ends = ("" if np.isinf(end) else f"{end:g}" for end in (low, high))
        print(f"| {' | '.join(ends)} | {sum(inside)} | {len(inside) - sum(inside)} |")


def print_thresholds(what: str, edges: Sequence[float], cases: Sequence[tuple[float, bool]], sign: int) -> None:
    """Errors of one threshold alone, on the seeds that chose."""
    print(f"\nOne threshold alone, seeds that chose it\n\n| {what} | mixable sets refused | collapsing sets passed |")
    print("| --- | --- | --- |")
    for edge in edges:
        refused = sum(truth and value > sign * edge for value, truth in cases)
        passed = sum(not truth and value <= sign * edge for value, truth in cases)
        print(f"| {edge:g} | {refused} | {passed} |")


def print_kinds(cases: Sequence[Case]) -> None:
    print("\nKinds of sets, all architectures and seeds: lowest and highest\n")
    columns = ("worst soup lost, points", "cosine", "barrier, nats", "mixable", "wrong without loss", "wrong with loss")
    print(f"| kind | {' | '.join(columns)} |\n| --- |{' --- |' * len(columns)}")
    for kind in dict.fromkeys(case.kind for case in cases):
        some = [case for case in cases if case.kind == kind]
        ranges = [
            f"{min(values):.{digits}f} to {max(values):.{digits}f}"
            for values, digits in (
                ([100 * case.lost for case in some], 1),
                ([case.cosine for case in some], 2),
                ([case.barrier for case in some], 2),
            )
        ]
        wrong = [sum(report(case).mixable != case.mixable for case in some) for report in CHECKS.values()]
        true = f"{sum(case.mixable for case in some)} of {len(some)}"
        print(f"| {kind} | {' | '.join([*ranges, true, *map(str, wrong)])} |")
    print("\nWrong, each:\n")
    for case in cases:
        for check, report in CHECKS.items():
            if report(case).mixable != case.mixable:
                print(
                    f"- seed {case.seed}, {case.family}, {case.kind}, {check}: worst soup lost {100 * case.lost:.1f} "
                    f"points, cosine {case.cosine:.2f}, barrier {case.barrier:.2f}; {report(case).verdict}"
                )


CHECKS: dict[str, Callable[[Case], Mixability]] = {
    "without loss": lambda case: case.blind,
    "with loss": lambda case: case.seen,
}


if __name__ == "__main__":
    main()
