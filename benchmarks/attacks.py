"""Time, passes and strength of AutoPGD here and elsewhere, against the passes that the method needs.

Every row of a table comes from one process, rounds interleaved (A B C A B C …), the fastest round of each, one torch
thread, CPU time. Robust accuracy is recomputed by us from the images that an attack returns: a sample counts as fooled
if its image is misclassified and inside ball and box. The *limit* is n forward and backward passes to the images and
one forward pass, and nothing else.

    pip install 'seasoning[benchmark]' && pip install --no-deps torchattacks
    python -m benchmarks.attacks --data path/to/cifar10
"""

import argparse
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.networks import NETWORKS, Bench, bench, network
from seasoning.attacks import apgd
from seasoning.geometry import BALLS, distance
from seasoning.models import PixelClassifier
from seasoning.threat import NORMS, Norm, Threat


REFERENCE = "pyautoattack"
NAMES = {"linf": "Linf", "l2": "L2", "l1": "L1"}
Run = Callable[[nn.Module, Tensor, Tensor, Norm, float, int], Tensor]  # …, steps -> adversarial images


class Timed(NamedTuple):
    """What one contender came to."""

    seconds: float
    forwards: float  # per image
    backwards: float
    robust: float
    outside: bool


class Counter(nn.Module):
    """Counts the images that pass, and those whose gradient is asked for."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.forwards = self.backwards = 0

    def forward(self, x: Tensor) -> Tensor:
        """Images to logits."""
        self.forwards += len(x)
        self.backwards += len(x) * x.requires_grad
        logits: Tensor = self.model(x)
        return logits


def ours(model: nn.Module, x: Tensor, y: Tensor, norm: Norm, eps: float, steps: int, **options: object) -> Tensor:
    return apgd(model, x, y, Threat(norm, eps), loss="ce", steps=steps, **options).x_adv  # type: ignore[arg-type]


def limit(model: nn.Module, x: Tensor, y: Tensor, norm: Norm, eps: float, steps: int) -> Tensor:
    for _ in range(steps):
        inputs = x.detach().requires_grad_()
        torch.autograd.grad(nn.functional.cross_entropy(model(inputs), y, reduction="sum"), inputs)
    with torch.no_grad():
        model(x)
    return x


def by_pyautoattack(model: nn.Module, x: Tensor, y: Tensor, norm: Norm, eps: float, steps: int) -> Tensor:
    from pyautoattack.autopgd_base import APGDAttack

    attack = APGDAttack(
        model, n_iter=steps, norm=NAMES[norm], eps=eps, seed=0, device="cpu", use_largereps=norm == "l1", loss="ce"
    )
    return attack.perturb(x, y)  # type: ignore[no-any-return]


def by_torchattacks(model: nn.Module, x: Tensor, y: Tensor, norm: Norm, eps: float, steps: int) -> Tensor:
    import torchattacks

    attack = torchattacks.APGD(model, norm=NAMES[norm], eps=eps, steps=steps, n_restarts=1, seed=0, loss="ce")
    return attack(x, y)  # type: ignore[no-any-return]


def by_foolbox(model: nn.Module, x: Tensor, y: Tensor, norm: Norm, eps: float, steps: int) -> Tensor:
    import foolbox

    attack = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD, "l1": foolbox.attacks.L1PGD}[norm]
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    return attack(steps=steps)(wrapped, x, y, epsilons=eps)[1]  # type: ignore[no-any-return]


def by_art(model: nn.Module, x: Tensor, y: Tensor, norm: Norm, eps: float, steps: int) -> Tensor:
    from art.attacks.evasion import AutoProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    estimator = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, clip_values=(0, 1), device_type="cpu"
    )
    attack = AutoProjectedGradientDescent(
        estimator,
        norm={"linf": np.inf, "l2": 2, "l1": 1}[norm],
        eps=eps,
        eps_step=2 * eps,
        max_iter=steps,
        nb_random_init=1,
        batch_size=len(x),
        loss_type="cross_entropy",
        verbose=False,
    )
    return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


FULL_BATCH: dict[str, Run] = {
    "limit": limit,
    "ours, full batch": partial(ours, active_set=False),
    "ours": ours,
    "ours, bf16": partial(ours, precision="bf16"),
    REFERENCE: by_pyautoattack,
    "torchattacks": by_torchattacks,
    "foolbox (PGD)": by_foolbox,
    "ART": by_art,
}


def compare(
    runs: dict[str, Run],
    model: PixelClassifier,
    x: Tensor,
    y: Tensor,
    norm: Norm,
    eps: float,
    steps: int,
    rounds: int,
) -> dict[str, Timed]:
    """Each contender's fastest round, and what a counted round found."""
    found: dict[str, Timed] = {}
    fastest = dict.fromkeys(runs, float("inf"))
    for number in range(rounds + 1):
        for name, run in runs.items():
            counter = Counter(model).eval()
            begun = time.process_time()
            x_adv = run(counter, x.clone(), y.clone(), norm, eps, steps).detach()
            # The first round warms up.
            if number:
                fastest[name] = min(fastest[name], time.process_time() - begun)
            found[name] = outcome(counter, x_adv, x, y, norm, eps)
    return {name: timed._replace(seconds=fastest[name]) for name, timed in found.items()}


def outcome(counter: Counter, x_adv: Tensor, x: Tensor, y: Tensor, norm: Norm, eps: float) -> Timed:
    passes = counter.forwards / len(x), counter.backwards / len(x)
    inside = distance(x_adv, x, norm) <= eps * (1 + 1e-4) + 1e-6
    inside &= ((x_adv >= -1e-6) & (x_adv <= 1 + 1e-6)).flatten(1).all(1)
    with torch.no_grad():
        right = torch.cat([counter.model(part).argmax(1) for part in x_adv.split(128)]) == y
    return Timed(0.0, *passes, float((right | ~inside).double().mean()), bool((~inside).any()))


def batched(run: Run, size: int) -> Run:
    """The same on batches, as a data set is attacked without refill."""

    def in_batches(model: nn.Module, x: Tensor, y: Tensor, norm: Norm, eps: float, steps: int) -> Tensor:
        return torch.cat(
            [run(model, part, own, norm, eps, steps) for part, own in zip(x.split(size), y.split(size), strict=True)]
        )

    return in_batches


def overhead(model: PixelClassifier, x: Tensor, y: Tensor, norm: Norm, eps: float, steps: int) -> float:
    """Total over time inside the model's passes, clocked in one run of our full batch."""
    inside, grad = [0.0], torch.autograd.grad

    def clocked(call: Callable[..., object]) -> Callable[..., object]:
        def timed(*args: object, **options: object) -> object:
            begun = time.process_time()
            result = call(*args, **options)
            inside[0] += time.process_time() - begun
            return result

        return timed

    watched = clocked(model)
    torch.autograd.grad = clocked(grad)  # type: ignore[assignment]
    try:
        begun = time.process_time()
        apgd(watched, x, y, Threat(norm, eps), loss="ce", steps=steps, active_set=False)  # type: ignore[arg-type]
        return (time.process_time() - begun) / inside[0]
    finally:
        torch.autograd.grad = grad


def peak_memory(arguments: argparse.Namespace, which: str, model: str, norm: str) -> float:
    """Growth of a fresh process over one attack, in MiB."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.attacks",
        "--peak-of",
        which,
        model,
        norm,
        "--batch",
        str(arguments.batch),
    ]
    command += ["--data", str(arguments.data)] if arguments.data else []
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def print_peak(arguments: argparse.Namespace) -> None:
    which, name, norm = arguments.peak_of
    images = bench(arguments.data)
    model = network(name, images)
    x, y = images.test.x[: arguments.batch], images.test.y[: arguments.batch]
    limit(model, x[:8], y[:8], norm, images.radii[norm], 1)
    # Forgets the peak so far, which is that of reading the images (Linux).
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_so_far()
    FULL_BATCH[which](model, x, y, norm, images.radii[norm], 5)
    print(peak_so_far() - before)


def peak_so_far() -> float:
    """Largest resident size of this process, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def print_projection(images: Bench) -> None:
    """Time and error of the l_1 projection, on points as an attack meets them."""
    from pyautoattack import autopgd_base

    sort: Any = autopgd_base.L1_projection
    x, eps = images.test.x[:128], images.radii["l1"]
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    sparse = noise.sign() * (noise.abs() > 2.0)
    point = BALLS["l1"].land(x + noise * 3 * eps / x[0].numel(), x, torch.full((len(x),), eps))
    z = point + eps * sparse / sparse.flatten(1).abs().sum(1)[:, None, None, None]
    radii = torch.full((len(x),), eps)
    fastest = [float("inf")] * 2
    calls: list[Callable[[], object]] = [lambda: BALLS["l1"].land(z, x, radii), lambda: sort(x, z - x, eps)]
    for _ in range(10):
        for index, call in enumerate(calls):
            begun = time.process_time()
            call()
            fastest[index] = min(fastest[index], time.process_time() - begun)
    exact = BALLS["l1"].project(z.double(), x.double(), radii.double())
    mine = BALLS["l1"].land(z, x, radii)
    error, excess = (mine - exact).abs().max(), distance(mine.double(), x.double(), "l1").max() / eps - 1
    print("\n## l_1 projection, 128 images of 3 x 32 x 32\n")
    print(
        f"time / {REFERENCE}'s sort {fastest[0] / fastest[1]:.2f}; largest error {error:.1e}; largest length over eps, "
    )
    print(f"minus 1: {excess:.1e}")


def print_tables(arguments: argparse.Namespace, images: Bench, name: str) -> None:
    model = network(name, images)
    layout = ""
    if arguments.channels_last:
        model.to(memory_format=torch.channels_last)
        layout = ", channels last"
    with torch.no_grad():
        right = torch.cat([model(part).argmax(1) for part in images.test.x.split(500)]) == images.test.y
    for norm in [arguments.norm] if arguments.norm else NORMS:
        threat = Threat(norm, images.radii[norm])
        print_one_batch(arguments, images, model, right, threat, f"{name}{layout}")
        peaks = [peak_memory(arguments, key, name, norm) for key in ("ours", "ours, full batch", REFERENCE)]
        print(f"Peak memory, MiB: ours {peaks[0]:.0f}, full batch {peaks[1]:.0f}, {REFERENCE} {peaks[2]:.0f}.")
        print_refilled(arguments, images, model, right, threat, f"{name}{layout}")
        sys.stdout.flush()


def print_one_batch(
    arguments: argparse.Namespace, images: Bench, model: PixelClassifier, right: Tensor, threat: Threat, title: str
) -> None:
    order = torch.randperm(int(right.sum()), generator=torch.Generator().manual_seed(1))[: arguments.batch]
    rows = right.nonzero().squeeze(1)[order]
    x, y, norm, eps, steps = images.test.x[rows], images.test.y[rows], threat.norm, threat.eps, arguments.steps
    runs = {key: run for key, run in FULL_BATCH.items() if norm != "l1" or key != "torchattacks"}
    found = compare(runs, model, x, y, norm, eps, steps, arguments.rounds)
    print(f"\n## {title}, {threat}, one batch of {len(x)} correctly classified images, {steps} steps\n")
    print_rows(found)
    clocked = min(overhead(model, x, y, norm, eps, steps) for _ in range(arguments.rounds))
    print(f"\nTotal / inside the model, ours, full batch: {clocked:.3f}. ", end="")


def print_refilled(
    arguments: argparse.Namespace, images: Bench, model: PixelClassifier, right: Tensor, threat: Threat, title: str
) -> None:
    order = torch.randperm(len(right), generator=torch.Generator().manual_seed(2))[: arguments.images]
    x, y, norm, eps = images.test.x[order], images.test.y[order], threat.norm, threat.eps
    runs: dict[str, Run] = {
        "ours": partial(ours, batch_size=arguments.batch),
        "ours, bf16": partial(ours, batch_size=arguments.batch, precision="bf16"),
        REFERENCE: batched(by_pyautoattack, arguments.batch),
    }
    found = compare(runs, model, x, y, norm, eps, arguments.steps, arguments.rounds)
    clean, robust = float(right[order].double().mean()), found["ours"].robust
    early, slack = (0.20, 0.10) if norm == "l1" else (0.10, 0.08)
    goal = (robust + early * (clean - robust)) / clean + slack
    print(f"\n## {title}, {threat}, {len(x)} images in batches of {arguments.batch}, with refill\n")
    print_rows(found)
    ratio = found["ours"].seconds / found[REFERENCE].seconds
    half = found["ours, bf16"].seconds / found["ours"].seconds
    print(f"\nClean accuracy {100 * clean:.1f} %. Ours / {REFERENCE} {ratio:.2f}, goal {goal:.2f}; ", end="")
    print(f"bf16 / fp32 {half:.2f}.")


def print_rows(found: dict[str, Timed]) -> None:
    print("| attack | time / reference | time / limit | forwards | backwards | robust, % |\n| --- |" + " --- |" * 5)
    for name, (seconds, forwards, backwards, robust, outside) in found.items():
        ratio = seconds / found[REFERENCE].seconds
        over = f"{seconds / found['limit'].seconds:.2f}" if "limit" in found else ""
        accuracy = "" if name == "limit" else f"{100 * robust:.1f}{' (left the ball)' if outside else ''}"
        print(f"| {name} | {ratio:.2f} | {over} | {forwards:.1f} | {backwards:.1f} | {accuracy} |")


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with train/ and test/; without it, the digits at 3 x 32 x 32")
    parser.add_argument("--network", choices=list(NETWORKS), help="only this one")
    parser.add_argument("--norm", choices=NORMS, help="only this one")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--channels-last", action="store_true", help="that memory layout of the networks")
    parser.add_argument(
        "--peak-of", nargs=3, metavar=("ATTACK", "NETWORK", "NORM"), help="memory of one attack, in MiB"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if arguments.peak_of:
        print_peak(arguments)
        return
    images = bench(arguments.data)
    print_projection(images)
    for name in [arguments.network] if arguments.network else NETWORKS:
        print_tables(arguments, images, name)


if __name__ == "__main__":
    main()
