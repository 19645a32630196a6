"""The recipes for ImageNet: what the paper says of them, counted costs, and small networks of the same families."""

import re
from typing import NamedTuple

import pytest
import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from seasoning.commands.train_recipe import check_recipe
from seasoning.config.base import resolve
from seasoning.config.train import RecipeSpec, heading, read_recipe_file, recipe_files
from seasoning.models import build_model
from seasoning.training import Settings
from seasoning.training.augment import Mixture, PhotoView, RandAugment


RECIPES = {name: path for name, path in recipe_files().items() if name.startswith("imagenet/")}


class Facts(NamedTuple):
    """What a recipe is: its objective, threats, steps of its attacks, and epochs."""

    objective: str
    threats: list[str]
    steps: dict[str, int]
    start: str | None = None


ADVPROP = Facts("advprop", ["linf:4/255"], {"linf": 2})
# Typed from the paper's appendices B.1, C.1 and C.2.
NOMINAL = Facts("nominal", [], {})
FACTS = {
    "vit_b16-nominal": NOMINAL,
    "vit_b16-linf": Facts("adversarial", ["linf:4/255"], {"linf": 2}),
    "vit_b16-linf-to-nominal": Facts("nominal", [], {}, "vit_b16-linf"),
    "vit_b16-linf-to-l2": Facts("adversarial", ["l2:4"], {"l2": 2}, "vit_b16-linf"),
    "vit_b16-linf-to-l1": Facts("adversarial", ["l1:255"], {"l1": 20}, "vit_b16-linf"),
    "vit_b16-linf-to-linf-half": Facts("adversarial", ["linf:2/255"], {"linf": 2}, "vit_b16-linf"),
    "vit_b16-linf-to-l2-half": Facts("adversarial", ["l2:2"], {"l2": 2}, "vit_b16-linf"),
    "vit_b16-linf-to-l1-half": Facts("adversarial", ["l1:128"], {"l1": 20}, "vit_b16-linf"),
    "vit_b16-linf-to-linf-quarter": Facts("adversarial", ["linf:1/255"], {"linf": 2}, "vit_b16-linf"),
    "vit_b16-linf-to-l2-quarter": Facts("adversarial", ["l2:1"], {"l2": 2}, "vit_b16-linf"),
    "vit_b16-linf-to-l1-quarter": Facts("adversarial", ["l1:64"], {"l1": 20}, "vit_b16-linf"),
    "vit_b16-max-finetune": Facts("max", ["linf:4/255", "l1:255"], {"linf": 2, "l1": 20}, "vit_b16-linf"),
    "vit_b16-sat-finetune": Facts("sat", ["linf:4/255", "l1:255"], {"linf": 2, "l1": 20}, "vit_b16-linf"),
    "vit_b16-advprop": ADVPROP,
    "resnet50-nominal": NOMINAL,
    "resnet50-linf": Facts("adversarial", ["linf:4/255"], {"linf": 2}),
    "resnet50-linf-to-nominal": Facts("nominal", [], {}, "resnet50-linf"),
    "resnet50-linf-to-l2": Facts("adversarial", ["l2:4"], {"l2": 2}, "resnet50-linf"),
    "resnet50-advprop": ADVPROP,
    "resnet50-linf-to-l1": Facts("adversarial", ["l1:255"], {"l1": 20}, "resnet50-linf"),
}
ARCHITECTURES = {"vit_b16": "vit_base_patch16_224", "resnet50": "resnet50"}


def read(name: str) -> RecipeSpec:
    return read_recipe_file(RECIPES[f"imagenet/{name}"])


def is_vit(name: str) -> bool:
    return name.startswith("vit_b16")


def test_every_recipe_is_there_and_no_other() -> None:
    assert set(RECIPES) == {f"imagenet/{name}" for name in FACTS}


@pytest.mark.parametrize("name", FACTS)
def test_recipes_say_what_the_paper_says(name: str) -> None:
    spec, facts = read(name), FACTS[name]
    assert spec.objective.name == facts.objective
    assert list(spec.threats) == facts.threats
    assert spec.starts[:1] == (() if facts.start is None else (f"imagenet/{facts.start}",))
    assert spec.network.architecture == ARCHITECTURES[name.split("-")[0]]
    assert spec.network.options == {"drop_path_rate": 0.1}
    assert (spec.attack is None) == (not facts.threats)
    if spec.attack is not None:
        assert spec.attack.loss == ("ce" if facts.objective == "advprop" else "kl")
        norms = {text.split(":")[0] for text in facts.threats}
        assert {norm: spec.attack.steps_by_norm.get(norm, spec.attack.steps) for norm in norms} == facts.steps  # type: ignore[call-overload]
    epochs = 300 if facts.start is None else 1
    schedule = spec.schedule
    assert (schedule.epochs, schedule.kind) == (epochs, "cosine")
    assert schedule.warmup == pytest.approx(20 / 300)
    base = 1e-4 if facts.start is None else 1e-5
    assert check_recipe(spec)[1] == Settings(
        optimizer="adamw",
        rate=base * 4096 / 256,
        batch_size=4096,
        accumulate=16,
        betas=(0.9, 0.95),
        weight_decay=0.3,
        spare_norms=True,
        schedule="cosine",
        warmup=schedule.warmup,
        precision="bf16",
        view=PhotoView((224, 224), (0.08, 1.0), True, RandAugment(2, 9, 0.5)),
        mixture=Mixture(0.8, 1.0, 0.1),
        ema=0.9999 if is_vit(name) else None,
        ingredient="ema" if is_vit(name) and epochs == 300 else "raw",
    )


def test_stochastic_depth_grows_with_depth() -> None:
    for name in ("vit_b16-linf", "resnet50-linf"):
        spec = read(name)
        with torch.device("meta"):
            network = timm.create_model(spec.network.architecture, **spec.network.options)
        rates = [each.drop_prob for each in network.modules() if type(each).__name__ == "DropPath"]
        blocks = 12 if is_vit(name) else 16
        # Where nothing is dropped timm has no layer for it; a block of a transformer has two.
        wanted = torch.linspace(0, 0.1, blocks).tolist()[1:]
        assert rates == pytest.approx([each for each in wanted for _ in range(2 if is_vit(name) else 1)])


def forward_passes(facts: Facts) -> float:
    """What a training takes for an image, in forward passes: a pass with a gradient to the image counts for two."""
    if facts.objective == "advprop":
        # Two losses, and attacks that take no prediction at the clean image.
        return 3 + 3 + sum(1 + 2 * steps for steps in facts.steps.values())
    # A divergence takes the prediction at the clean image, and the last point of an attack is looked at.
    attacks = [2 + 2 * steps for steps in facts.steps.values()]
    # Where each image has the threat of its highest loss, that is looked at, too.
    found = sum(attacks) + len(attacks) if facts.objective == "max" else sum(attacks) / max(len(attacks), 1)
    return 3 + found


@pytest.mark.parametrize("name", FACTS)
def test_headers_say_command_counted_cost_and_published_numbers(name: str) -> None:
    facts, path = FACTS[name], RECIPES[f"imagenet/{name}"]
    text = path.read_text()
    words = " ".join(line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#"))
    assert heading(path).startswith("ImageNet: ")
    start = "" if facts.start is None else f" --init runs/train/imagenet/{facts.start}/best.safetensors"
    assert f"Command: seasoning train {name} --data ILSVRC2012_img_train{start} Expected cost: " in words
    assert "Published numbers: " in words
    assert "(an estimate until measured)" in words
    spec = read(name)
    with torch.device("meta"):
        network, image = timm.create_model(spec.network.architecture), torch.empty(1, 3, 224, 224)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    images = 1_281_167 - spec.data.validation
    whole = counter.get_total_flops() * forward_passes(facts) * images * spec.schedule.epochs
    said = re.search(
        r"of ([\d.]+) forward passes an image, of (\d+) GFLOP each: ([\d.e]+) FLOP, ([\d.]+) card-hours", words
    )
    assert said is not None
    assert float(said[1]) == forward_passes(facts)
    assert float(said[2]) == round(counter.get_total_flops() / 1e9)
    assert float(said[3]) == pytest.approx(whole, rel=0.05)
    rate = 200e12 if is_vit(name) else 100e12
    assert float(said[4]) == pytest.approx(whole / rate / 3600, rel=0.05)


def test_published_numbers_are_those_of_table_2() -> None:
    for name, numbers in {"max": ("72.08", "51.36"), "sat": ("73.76", "52.75")}.items():
        (line,) = [
            line
            for line in RECIPES[f"imagenet/vit_b16-{name}-finetune"].read_text().splitlines()
            if line.startswith("# Published numbers: ")
        ]
        assert re.findall(r"\d\d\.\d\d", line) == list(numbers)


@pytest.mark.parametrize("name", ["vit_b16-linf", "resnet50-linf-to-l1", "vit_b16-max-finetune", "vit_b16-advprop"])
def test_a_smoke_run_takes_the_smallest_network_of_the_same_family(name: str) -> None:
    full, small = read(name), read(name).shrunk()
    assert small.smoke
    assert small.data.shape == (3, 32, 32)
    assert small.network.architecture == full.network.architecture
    assert small.network.options["drop_path_rate"] == 0.1
    assert (small.augment, small.objective, small.threats) == (full.augment, full.objective, full.threats)
    assert (small.optimizer.batch_size, small.optimizer.accumulate) == (32, 2)
    assert small.attack is not None
    assert full.attack is not None
    assert small.attack.steps == 2
    assert small.attack.loss == full.attack.loss
    network = build_model(small.network.architecture, num_classes=1000, **small.network.options).network
    with torch.device("meta"):
        whole = timm.create_model(full.network.architecture)
    assert type(network) is type(whole)
    if is_vit(name):
        assert network.embed_dim == 64
        assert type(network.blocks[0]) is type(whole.blocks[0])  # type: ignore[index]
    else:
        assert type(network.layer1[0]) is type(whole.layer1[0])  # type: ignore[index]
    assert sum(each.numel() for each in network.parameters()) < 500_000
    assert resolve([], small) == small
