"""What a search takes beside the passes through the network: mixing, the store, selection, and everything else.

A PreAct-ResNet-18 of width 16, 1000 random images of 32 x 32 pixels, clean, four ingredients; a grid of 56 soups,
which measures each on all images, and the default strategy, which measures most on 150. CPU time of one process, each
part without the parts inside it; two minutes:

    python benchmarks/search_overhead.py
"""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from seasoning.checkpoints.load import save_state
from seasoning.commands import search as searching
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

    def _switch(self) -> None:
        now = time.process_time()
        self.spent[self._running[-1]] = self.spent.get(self._running[-1], 0.0) + now - self._since
        self._since = now


def main() -> None:
    """Print CPU seconds and shares of the forward passes."""
    torch.set_num_threads(1)
    clock = Clock()
    for owner, name, part in (
        (PixelClassifier, "forward", "forward passes"),
        (LiveSoup, "soup", "mixing"),
        *((Store, name, "store") for name in ("add", "known", "known_ids", "headers", "write_note")),
        *((SearchObjective, name, "selection") for name in ("score", "values", "estimate")),
        *(
            (searching, name, "selection")
            for name in ("choose", "compare", "judge", "best_probabilities", "regret_curve")
        ),
        (SoupOutcomes, "selection", "measuring: batches, checks, records"),
        (searching._Search, "look", "strategy, progress"),
        (searching._Search, "answer", "strategy, progress"),
    ):
        setattr(owner, name, clock.of(part, getattr(owner, name)))
    for strategy, step in (("grid", 0.2), ("climb", 0.1)):
        clock.spent.clear()
        with TemporaryDirectory() as place:
            plan = make_plan(content(Path(place)) | {"strategy": strategy, "space": {"step": step}})
            searching.search(plan, Path(place) / "run", watch=lambda doing, done, total: None, say=lambda line: None)
        passes = clock.spent["forward passes"]
        print(f"\n| {strategy}, step {step} | CPU seconds | share of the passes |\n| --- | --- | --- |")
        for part, seconds in sorted(clock.spent.items(), key=lambda each: -each[1]):
            print(f"| {part} | {seconds:.2f} | {100 * seconds / passes:.2f} % |")
        kept = sum(clock.spent[part] for part in ("mixing", "store", "selection"))
        print(f"\n{strategy}: mixing, store and selection together {100 * kept / passes:.2f} % of the passes")


def content(folder: Path) -> dict[str, Any]:
    """A plan over random images and four networks close to each other."""
    random = np.random.default_rng(0)
    for number in range(1000):
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
    network = {"architecture": "preact_resnet18", "options": {"width": 16}, "ingredients": files}
    return network | {"data": {"images": str(folder / "images")}, "shots": 1000}


def _moved(tensor: torch.Tensor) -> torch.Tensor:
    return tensor * (1 + 0.05 * torch.randn_like(tensor)) if tensor.is_floating_point() else tensor


if __name__ == "__main__":
    main()
