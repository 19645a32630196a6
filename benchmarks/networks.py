"""The images and networks that the benchmarks attack; trained on first use, then kept under `runs/benchmarks`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from seasoning import Samples, Threat, accuracy, build_model, evaluate, load_ingredient, load_source, split_samples
from seasoning.checkpoints import save_state
from seasoning.models import PixelClassifier
from seasoning.threat import Norm
from seasoning.training import Scores, Settings, TrainingAttack, adversarial, nominal, train


KEPT = Path("runs/benchmarks")
# A small residual CNN without batch normalization, and a PreAct-ResNet-18 of width 16, both for 3 x 32 x 32.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "small CNN": ("resnet_small", {"in_chans": 3, "widths": (32, 32, 64, 128), "strides": (2, 2, 2)}),
    "PreAct-ResNet-18, width 16": ("preact_resnet18", {"width": 16}),
}


class Bench(NamedTuple):
    """Images to train on, read when called, and to attack; radii that leave robust networks half of their accuracy."""

    name: str
    train: Callable[[], Samples]
    test: Samples
    radii: dict[Norm, float]


def bench(data: Path | None) -> Bench:
    """The folders `train` and `test` under `data`, or the digits, enlarged to 3 x 32 x 32."""
    if data is None:
        parts = split_samples(load_source("digits"), {"train": 897, "test": 900})
        radii: dict[Norm, float] = {"linf": 0.15, "l2": 2.0, "l1": 16.0}
        return Bench("digits", lambda: enlarged(parts["train"]), enlarged(parts["test"]), radii)
    radii = {"linf": 4 / 255, "l2": 0.5, "l1": 8.0}
    return Bench(data.name, lambda: load_source(str(data / "train")), load_source(str(data / "test")), radii)


def enlarged(samples: Samples) -> Samples:
    """The same images as RGB of 32 x 32 pixels."""
    x = nn.functional.interpolate(samples.x, size=(32, 32), mode="bilinear").expand(-1, 3, -1, -1).contiguous()
    return Samples(samples.name, samples.ids, x, samples.y, samples.classes, samples.batch_size)


def network(name: str, images: Bench, epochs: int = 4, most: int = 20_000) -> PixelClassifier:
    """A network that adversarial training has made somewhat robust in every norm, in evaluation mode."""
    architecture, options = NETWORKS[name]
    path = KEPT / f"{images.name}-{architecture}-{epochs}-{most}.safetensors"
    classes = images.test.classes
    if path.exists():
        return build_model(architecture, num_classes=classes, state=load_ingredient(path), **options)
    torch.manual_seed(0)
    model = build_model(architecture, num_classes=classes, **options)
    samples = images.train()
    rows = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))
    validation = samples.take(rows[:200], "validation")
    part = samples.take(rows[200 : 200 + most], "train")
    # Small sets take more epochs to learn anything.
    times = max(1, 4000 // len(part))
    objectives = [nominal()] * (times * epochs // 2) + [
        adversarial(Threat("l2", images.radii["l2"]), TrainingAttack(steps=2))
    ] * epochs
    trained = train(
        model,
        part,
        objectives,
        # The last epoch, so later ones must not score less.
        lambda each: Scores(0.0),
        Settings(
            rate=0.1,
            batch_size=128 if len(part) > 5000 else 32,
            momentum=0.9,
            nesterov=True,
            weight_decay=5e-4,
            schedule="cosine",
            warmup=0.1,
            clip=1.0,
        ),
        device="cpu",
        on_epoch=lambda epoch, scores: print(f"training {name}: epoch {epoch + 1} of {len(objectives)}", flush=True),
    )
    model.load(trained.state)
    KEPT.mkdir(parents=True, exist_ok=True)
    save_state(trained.state, path, {})
    print(f"{name}: {100 * accuracy(evaluate(model, validation)).value:.1f} % of 200 validation images")
    return model.eval()
