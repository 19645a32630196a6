"""How strong AutoPGD here is, against the implementation of its authors.

For every norm and loss both attack the same correctly classified images of two networks with three seeds; equal seeds
are not equal starts, so a sample's result is its mean over the seeds. The gap is our robust accuracy minus theirs, in
points: above zero ours is weaker. Its 95 % interval is over the samples, paired.

    pip install 'seasoning[benchmark]'
    python -m experiments.strength --data path/to/cifar10
"""

import argparse
import warnings
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.networks import NETWORKS, bench, network
from seasoning import Threat, apgd
from seasoning.models import PixelClassifier
from seasoning.threat import NORMS, Norm


NAMES = {"linf": "Linf", "l2": "L2", "l1": "L1"}
LOSSES = ("ce", "dlr", "targeted-dlr")
TARGETS = 3


def ours(model: PixelClassifier, x: Tensor, y: Tensor, threat: Threat, loss: str, steps: int, seed: int) -> Tensor:
    """Which images stand after our attack, `(N,)` of 0 and 1."""
    targets = TARGETS if loss == "targeted-dlr" else None
    result = apgd(model, x, y, threat, loss=loss, steps=steps, targets=targets, seed=seed, batch_size=200)
    return (~result.fooled).double()


def theirs(model: PixelClassifier, x: Tensor, y: Tensor, threat: Threat, loss: str, steps: int, seed: int) -> Tensor:
    """The same after the reference's attack."""
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

    make = partial(APGDAttack_targeted, n_target_classes=TARGETS) if loss == "targeted-dlr" else APGDAttack
    norm: Norm = threat.norm
    attack = make(
        model,
        n_iter=steps,
        norm=NAMES[norm],
        eps=threat.eps,
        seed=seed,
        device="cpu",
        use_largereps=norm == "l1",
        **({} if loss == "targeted-dlr" else {"loss": loss}),
    )
    with torch.no_grad():
        return torch.cat(
            [
                (model(attack.perturb(part, own)).argmax(1) == own).double()
                for part, own in zip(x.split(200), y.split(200), strict=True)
            ]
        )


def main() -> None:
    """Print one line for each norm and loss, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with train/ and test/; without it, the digits at 3 x 32 x 32")
    parser.add_argument("--norm", choices=NORMS, help="only this one")
    parser.add_argument("--loss", choices=LOSSES, action="append", help="only this one; repeatable")
    parser.add_argument("--images", type=int, default=1000, help="correctly classified images of each network")
    parser.add_argument("--steps", type=int, default=40, help="steps; the targeted loss shares them among its targets")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    images = bench(arguments.data)
    problems = []
    for name in NETWORKS:
        model = network(name, images).to(memory_format=torch.channels_last)
        with torch.no_grad():
            right = torch.cat([model(part).argmax(1) for part in images.test.x.split(500)]) == images.test.y
        order = torch.randperm(int(right.sum()), generator=torch.Generator().manual_seed(3))[: arguments.images]
        rows = right.nonzero().squeeze(1)[order]
        problems.append((model, images.test.x[rows], images.test.y[rows]))
    print("| threat | loss | ours, % | theirs, % | gap [95 %] | samples |\n| --- |" + " --- |" * 5, flush=True)
    for norm in [arguments.norm] if arguments.norm else NORMS:
        threat = Threat(norm, images.radii[norm])
        for loss in arguments.loss or LOSSES:
            steps = arguments.steps // TARGETS if loss == "targeted-dlr" else arguments.steps
            stands: list[list[Tensor]] = [[], []]
            for model, x, y in problems:
                for which, attack in enumerate((ours, theirs)):
                    runs = [attack(model, x, y, threat, loss, steps, seed) for seed in range(arguments.seeds)]
                    stands[which].append(torch.stack(runs).mean(0))
            mine, reference = (torch.cat(parts) for parts in stands)
            gap = 100 * (mine - reference)
            middle, half = float(gap.mean()), 1.96 * float(gap.std()) / len(gap) ** 0.5
            accuracies = f"{100 * float(mine.mean()):.2f} | {100 * float(reference.mean()):.2f}"
            interval = f"{middle:+.2f} [{middle - half:+.2f}, {middle + half:+.2f}]"
            print(f"| {threat} | {loss} | {accuracies} | {interval} | {len(gap)} |", flush=True)


if __name__ == "__main__":
    main()
