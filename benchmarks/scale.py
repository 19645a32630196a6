"""What the scale of the logits does to the l_1 attack, with the cross-entropy and with the scaled cross-entropy.

Every network is attacked as it is, and with its logits times 1/1000 and times 1000; its accuracy stays what it is. The
difference is robust accuracy minus that under the cross-entropy at scale 1, in points, paired over the images of all
networks and radii; below zero the attack is stronger. Its 95 % interval is over the images: the mean of an image over
seeds and radii is one value.

    python -m benchmarks.scale
    python -m benchmarks.scale --data path/to/cifar10
"""

import argparse
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.networks import KEPT, NETWORKS, bench, network
from seasoning.attacks import apgd
from seasoning.checkpoints.load import load_ingredient, save_state
from seasoning.commands.train_recipe import settings_from
from seasoning.config.train import asked_recipe
from seasoning.data import Samples, load_source, split_samples
from seasoning.losses import ATTACK_LOSSES, AttackLoss, cross_entropy, scaled_cross_entropy
from seasoning.models import build_model
from seasoning.threat import Threat
from seasoning.training import Scores, TrainingAttack, adversarial, nominal, train


SCALES = (1.0, 1e-3, 1e3)
LOSSES = ("ce", "scaled-ce", "dlr")
# What the networks of the digits are trained against, and the radii at which they are attacked.
TRAINED = {"nominal": None, "l_inf": Threat("linf", 0.1), "l_2": Threat("l2", 0.5), "l_1": Threat("l1", 2.0)}
RADII = (1.5, 3.0)


def by_own(spread: Callable[[Tensor], Tensor], value: float) -> AttackLoss:
    """Cross-entropy of logits scaled to a spread at the image itself; its gradient leaves the scale alone."""
    return AttackLoss(
        lambda logits, labels: cross_entropy(logits * (value / spread(logits.detach()))[:, None], labels), ("labels",)
    )


def by_clean(value: float) -> AttackLoss:
    """The scaled cross-entropy with another spread than 3."""
    return AttackLoss(
        lambda logits, labels, clean: scaled_cross_entropy(logits * (value / 3), labels, clean), ("labels", "clean")
    )


# Other ways to choose a scale; standard deviations and ranges are over the classes.
OTHERS = {
    "clean std 1": by_clean(1),
    "clean std 6": by_clean(6),
    "own std 1": by_own(lambda logits: logits.std(1), 1),
    "own std 3": by_own(lambda logits: logits.std(1), 3),
    "own std 6": by_own(lambda logits: logits.std(1), 6),
    "own range 10": by_own(lambda logits: logits.amax(1) - logits.amin(1), 10),
}


class Scaled(nn.Module):
    """A model whose logits are multiplied by a number."""

    def __init__(self, model: nn.Module, factor: float) -> None:
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, x: Tensor) -> Tensor:
        """Images `(B, C, H, W)` in [0, 1] to logits `(B, K)`."""
        logits: Tensor = self.model(x)
        return self.factor * logits


def of_digits(seeds: int) -> Iterator[tuple[str, nn.Module, Samples]]:
    """Networks of the digits, trained anew for every seed and kind, and the images to attack."""
    parts = split_samples(load_source("digits"), {"train": 897, "test": 900})
    for seed in range(seeds):
        for kind, threat in TRAINED.items():
            path = KEPT / f"scale-{kind}-{seed}.safetensors"
            torch.manual_seed(seed)
            model = build_model("resnet_small", num_classes=10)
            if not path.exists():
                later = nominal() if threat is None else adversarial(threat, TrainingAttack(steps=4))
                objectives = [nominal()] * 8 + [later] * 6
                settings = settings_from(asked_recipe("digits/linf", None, [], smoke=False)[1])
                trained = train(
                    model, parts["train"], objectives, lambda each: Scores(0.0), settings, seed=seed, device="cpu"
                )
                KEPT.mkdir(parents=True, exist_ok=True)
                save_state(trained.state, path, {})
            model.load(load_ingredient(path))
            yield kind, model.eval(), parts["test"]


def of_folders(data: Path) -> Iterator[tuple[str, nn.Module, Samples]]:
    """The networks of the other benchmarks of attacks."""
    images = bench(data)
    for name in NETWORKS:
        yield name, network(name, images).to(memory_format=torch.channels_last), images.test


def main() -> None:
    """Print one line for each loss and scale, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with train/ and test/; without it, the digits")
    parser.add_argument("--images", type=int, default=900, help="images of each network")
    parser.add_argument("--seeds", type=int, default=3, help="networks of each kind of the digits")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--restarts", type=int, default=1)
    parser.add_argument("--loss", choices=(*LOSSES, *OTHERS), action="append", help="only this one; repeatable")
    parser.add_argument("--once", action="store_true", help="only at scale 1")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    problems = list(of_digits(arguments.seeds) if arguments.data is None else of_folders(arguments.data))
    kinds = list(dict.fromkeys(kind for kind, _, _ in problems))
    radii = RADII if arguments.data is None else (bench(arguments.data).radii["l1"],)
    print(
        f"l_1 at {', '.join(f'{eps:g}' for eps in radii)}; {len(problems)} networks, {arguments.images} images each\n"
    )
    print(f"| loss | scale | robust, % | difference [95 %] | gradients an image | {' | '.join(kinds)} |")
    print("| --- |" + " --- |" * (4 + len(kinds)), flush=True)
    ATTACK_LOSSES.update(OTHERS)
    base = None
    for loss in arguments.loss or LOSSES:
        # The others are indifferent by construction.
        for scale in SCALES if loss in LOSSES[:2] and not arguments.once else SCALES[:1]:
            attack = partial(apgd, loss=loss, steps=arguments.steps, restarts=arguments.restarts, batch_size=300)
            stands, gradients = [], []
            for _, model, samples in problems:
                few = samples.take(torch.arange(min(arguments.images, len(samples))), samples.name)
                for eps in radii:
                    found = attack(Scaled(model, scale), few.x, few.y, Threat("l1", eps), ids=few.ids)
                    stands.append((~found.fooled).double())
                    gradients.append(found.gradients.double())
            # (networks, radii, images)
            standing = torch.stack(stands).unflatten(0, (len(problems), len(radii)))
            base = standing if base is None else base
            gap = 100 * (standing - base).flatten(0, 1).mean(0)
            middle, half = float(gap.mean()), 1.96 * float(gap.std()) / len(gap) ** 0.5
            rates = [100 * float(standing[[kind == own for own, _, _ in problems]].mean()) for kind in kinds]
            interval = f"{middle:+.2f} [{middle - half:+.2f}, {middle + half:+.2f}]"
            cost = float(torch.stack(gradients).mean())
            shown = " | ".join(f"{rate:.2f}" for rate in rates)
            print(
                f"| {loss} | {scale:g} | {100 * float(standing.mean()):.2f} | {interval} | {cost:.2f} | {shown} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
