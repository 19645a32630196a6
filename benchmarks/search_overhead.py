"""What a search takes beside the passes through the network: mixing, the store, selection, and everything else.

A PreAct-ResNet-18 of width 16, 1000 random images of 32 x 32 pixels, clean, four ingredients; a grid of 56 soups,
which measures each on all images, and the default strategy, which measures most on 150. CPU time of one process, each
part without the parts inside it; two minutes:

    python -m benchmarks.search_overhead
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from seasoning.checkpoints.load import save_state
from seasoning.commands import search, search_answers
from seasoning.commands.search_soups import SoupOutcomes
from seasoning.config.search import make_plan
from seasoning.evaluation.live_soup import LiveSoup
from seasoning.models import PixelClassifier, build_model
from seasoning.selection import SearchObjective
from seasoning.store.database import Store


class Clock:
    """CPU seconds by name; what runs inside a clocked function under another name counts there alone."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._running = ["setup"]
        self._since = time.process_time()

    def of(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, clocked."""

        def clocked(*arguments: Any, **options: Any) -> Any:
            self._switch()
            self._running.append(name)
            try:
                return function(*arguments, **options)
            finally:
                self._switch()
                self._running.pop()

        return clocked

    def restart(self) -> None:
        """Forget what was spent so far."""
        self.spent.clear()
        self._since = time.process_time()

    def _switch(self) -> None:
        now = time.process_time()
        self.spent[self._running[-1]] = self.spent.get(self._running[-1], 0.0) + now - self._since
        self._since = now


# What is clocked: of which class or module, which functions, and the part that they count for.
CLOCKED: tuple[tuple[Any, tuple[str, ...], str], ...] = (
    (PixelClassifier, ("forward",), "forward passes"),
    (LiveSoup, ("soup",), "mixing"),
    (Store, ("add", "known", "known_ids", "headers", "measurements", "write_note"), "store"),
    (SearchObjective, ("score", "values", "estimate", "difference"), "selection"),
    (search_answers, ("choose", "compare", "judge", "best_probabilities", "regret_curve"), "selection"),
    (SoupOutcomes, ("selection", "held_out"), "measuring: batches, checks, records"),
    (search, ("estimate_cost", "_run", "answer_search"), "strategy, progress"),
    (search, ("write_page",), "the page"),
)


def main() -> None:
    """Print CPU seconds, and what they are of those of the forward passes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=1000)
    images = parser.parse_args().images
    torch.set_num_threads(1)
    clock = Clock()
    for owner, names, part in CLOCKED:
        for name in names:
            setattr(owner, name, clock.of(part, getattr(owner, name)))
    for strategy, step in (("grid", 0.2), ("climb", 0.1)):
        with TemporaryDirectory() as folder:
            plan = make_plan(content(Path(folder), images) | {"strategy": strategy, "space": {"step": step}})
            clock.restart()
            search.run_plan(plan, Path(folder) / "run")
        passes = clock.spent["forward passes"]
        print(f"\n| {strategy}, step {step} | CPU seconds | of those of the passes |\n| --- | --- | --- |")
        for part, seconds in sorted(clock.spent.items(), key=lambda row: -row[1]):
            print(f"| {part} | {seconds:.2f} | {100 * seconds / passes:.2f} % |")
        kept = sum(clock.spent[part] for part in ("mixing", "store", "selection"))
        print(f"\n{strategy}: mixing, store and selection together {100 * kept / passes:.2f} % of the passes")


def content(folder: Path, images: int) -> dict[str, Any]:
    """A plan over random images and four networks close to each other."""
    random = np.random.default_rng(0)
    for number in range(images):
        path = folder / "images" / str(number % 10) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    torch.manual_seed(0)
    base = build_model("preact_resnet18", num_classes=10, width=16).network.state_dict()
    files = {}
    for name in ("nominal", "linf", "l2", "l1"):
        state = {key: _moved(tensor) for key, tensor in base.items()}
        save_state(state, folder / f"{name}.safetensors", {})
        files[name] = str(folder / f"{name}.safetensors")
    network = {"architecture": "preact_resnet18", "options": {"width": 16}}
    return {"network": network, "ingredients": files, "data": {"images": str(folder / "images")}, "shots": images}


def _moved(tensor: torch.Tensor) -> torch.Tensor:
    return tensor * (1 + 0.05 * torch.randn_like(tensor)) if tensor.is_floating_point() else tensor


if __name__ == "__main__":
    main()
