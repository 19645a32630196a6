"""Images in the model at a time: the number that is chosen against fixed ones, in time and in memory.

`passes`: processor time of an image in passes of each size, without and with the gradient of the image, over that of
the best size; sizes take turns in every round, and the least of the rounds counts. `works`: `evaluate` with the chosen
number and with fixed ones, each in a process of its own, so that its peak memory is that of this work. `loop`: a clean
`evaluate` with the chosen number, and loops over the images and nothing else; they take turns. One thread. Networks and
images are random; no image is fooled, so an attack takes all its steps on every one.

    python -m benchmarks.batch_size passes
    python -m benchmarks.batch_size works --network ResNet-50 --work attacked
    python -m benchmarks.batch_size loop --network "ResNet-18 of width 16"
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor, nn

from seasoning.attacks import apgd
from seasoning.data import Samples
from seasoning.evaluation import evaluate
from seasoning.evaluation.batch_size import choose_batch_size, reuse_freed_memory
from seasoning.models import build_model
from seasoning.threat import Threat


MIB = 2**20
SMALL, LARGE = (4, 8, 16, 32, 64, 128, 256, 512), (1, 2, 4, 8, 16, 32, 64)


class Network(NamedTuple):
    """A network, the side of its images, the sizes tried, and the images of a clean and of an attacked work."""

    make: Callable[[], nn.Module]
    side: int
    sizes: tuple[int, ...]
    clean: int
    attacked: int


NETWORKS = {
    "ResNet-18": Network(partial(build_model, "preact_resnet18", num_classes=10, width=64), 32, SMALL, 512, 128),
    "ResNet-18 of width 16": Network(
        partial(build_model, "preact_resnet18", num_classes=10, width=16), 32, SMALL, 10000, 512
    ),
    "ResNet-18 of timm": Network(partial(build_model, "resnet18", num_classes=10), 32, SMALL, 1024, 512),
    "ResNet-50": Network(partial(build_model, "resnet50", num_classes=1000), 224, LARGE, 32, 16),
    "ViT-S/16": Network(partial(build_model, "vit_small_patch16_224", num_classes=1000), 224, LARGE, 32, 16),
    "EfficientNet-Lite0": Network(partial(build_model, "tf_efficientnet_lite0", num_classes=1000), 224, LARGE, 64, 32),
}
WORKS = ("clean", "attacked")


def main() -> None:
    """Print one line for each network and work, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("passes", "works", "loop", "one"))
    parser.add_argument("--network", choices=NETWORKS, action="append", help="only this one; repeatable")
    parser.add_argument("--work", choices=WORKS, action="append", help="only this one; repeatable")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--sizes", type=int, nargs="+", help="of works, instead of all that are tried")
    parser.add_argument("--memory", type=int, default=1024, help="MiB of the line of works with a small budget")
    parser.add_argument("--asked", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    reuse_freed_memory()  # as `evaluate` does
    if given.what == "one":
        print(json.dumps(work(*json.loads(given.asked))))
        return
    if given.what == "loop":
        for name in given.network or NETWORKS:
            loop(name, tuple(given.sizes or NETWORKS[name].sizes), given.rounds)
        return
    if given.what == "passes":
        print("| network | work | chosen | milliseconds of an image at the best size | fixed: time / best |")
        print("| --- | --- | ---: | ---: | --- |", flush=True)
    else:
        print("| network | work | number | size | processor, s | peak, MiB |")
        print("| --- | --- | --- | ---: | ---: | ---: |", flush=True)
    for name in given.network or NETWORKS:
        for kind in given.work or WORKS:
            if given.what == "passes":
                print(passes(name, kind, given.rounds), flush=True)
            else:
                works(name, kind, given.sizes or NETWORKS[name].sizes, given.memory * MIB, given.rounds)


def passes(name: str, kind: str, rounds: int) -> str:
    """The line of a network and a work."""
    torch.manual_seed(0)
    network, attacked = NETWORKS[name], kind == "attacked"
    model = network.make().eval()
    chosen = choose_batch_size(model, torch.rand(2, 3, network.side, network.side), gradients=attacked).wanted
    sizes = sorted({*network.sizes, chosen})
    images = network.attacked if attacked else min(network.clean, 1024)
    least = dict.fromkeys(sizes, float("inf"))
    for number in range(rounds):
        for size in sizes:
            x = torch.rand(size, 3, network.side, network.side)
            if number == 0:
                once(model, x, attacked)
            repeats = max(1, images // size)
            begun = time.process_time()
            for _ in range(repeats):
                once(model, x, attacked)
            least[size] = min(least[size], (time.process_time() - begun) / (repeats * size))
    best = min(least.values())
    times = ", ".join(f"{size}: {seconds / best:.2f}" for size, seconds in least.items())
    return f"| {name} | {kind} | {chosen} | {1000 * best:.2f} | {times} |"


def once(model: nn.Module, x: Tensor, gradients: bool) -> None:
    """One pass, as a clean measurement or an attack takes it."""
    if gradients:
        leaf = x.detach().requires_grad_()
        torch.autograd.grad(model(leaf).logsumexp(1).sum(), leaf)
    else:
        with torch.no_grad():
            model(x)


def works(name: str, kind: str, sizes: tuple[int, ...], memory: int, rounds: int) -> None:
    """Print the lines of a network and a work."""
    asked: dict[str, tuple[str, int | None, int | None]] = {
        "chosen": (kind, None, None),
        f"chosen, at most {memory // MIB} MiB": (kind, None, memory),
    }
    asked |= {f"fixed, {size}": (kind, size, None) for size in sizes}
    found: dict[str, dict[str, Any]] = {}
    for _ in range(rounds):
        for label, (what, size, budget) in asked.items():
            each = apart(name, what, size, budget)
            if label not in found or each["seconds"] < found[label]["seconds"]:
                found[label] = each
    for label, each in found.items():
        print(
            f"| {name} | {kind} | {label} | {each['size']} | {each['seconds']:.2f} | {each['peak'] / MIB:.0f} |",
            flush=True,
        )


def apart(name: str, kind: str, size: int | None, budget: int | None) -> dict[str, Any]:
    """What `work` tells, in a process of its own."""
    asked = json.dumps([name, kind, size, budget])
    command = [sys.executable, "-m", "benchmarks.batch_size", "one", "--asked", asked]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def loop(name: str, sizes: tuple[int, ...], rounds: int) -> None:
    """Print seconds of the processor of `evaluate` and of plain loops over the images, the mean of the rounds."""
    network = NETWORKS[name]
    model = network.make().eval()
    x = torch.randint(256, (network.clean, 3, network.side, network.side), dtype=torch.uint8)
    samples = Samples("images", torch.arange(len(x)), x, torch.zeros(len(x), dtype=torch.int64), 1000)

    def plain(size: int) -> None:
        with torch.no_grad():
            for few in x.split(size):
                model(few.float() / 255).argmax(1)

    passed: dict[str, Callable[[], object]] = {"evaluate": partial(evaluate, model, samples)}
    passed |= {f"loop, {size}": partial(plain, size) for size in sizes}
    seconds = dict.fromkeys(passed, 0.0)
    for _ in range(rounds):
        for label, once_through in passed.items():
            begun = time.process_time()
            once_through()
            seconds[label] += time.process_time() - begun
    for label, spent in seconds.items():
        print(f"| {name} | {label} | {spent / rounds:.2f} |", flush=True)


def work(name: str, kind: str, size: int | None, budget: int | None) -> dict[str, Any]:
    """Seconds of the processor, peak memory and the number of images at a time of one work, in this process."""
    torch.manual_seed(0)
    network = NETWORKS[name]
    model = network.make().eval()
    count = network.attacked if kind == "attacked" else network.clean
    x = torch.randint(256, (count, 3, network.side, network.side), dtype=torch.uint8)
    labels = torch.zeros(count, dtype=torch.int64)
    if kind == "attacked":
        with torch.no_grad():
            parts = x.split(4 if network.side > 64 else 64)
            labels = torch.cat([model(part.float() / 255).argmax(1) for part in parts])
    samples = Samples("images", torch.arange(count), x, labels, 1000, batch_size=size)
    options: dict[str, Any] = {}
    if kind == "attacked":
        options = {"attack": partial(apgd, loss="ce", steps=3), "threat": Threat("linf", 1e-7)}
    sizes: list[int] = []
    before, begun = psutil.Process(os.getpid()).memory_info().rss, time.process_time()
    evaluate(model, samples, memory=budget, on_batch_size=sizes.append, **options)
    spent = time.process_time() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    return {"seconds": spent, "peak": peak, "size": sizes[-1]}


if __name__ == "__main__":
    main()
