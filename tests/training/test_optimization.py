"""Optimizers, rates over time, and what becomes of images."""

import copy
import math
from dataclasses import replace

import pytest
import timm
import torch
from torch import nn

from seasoning.training import Settings
from seasoning.training.augment import crop_and_flip
from seasoning.training.optimization import (
    batch_sizes,
    cosine_rate,
    make_optimizer,
    rate_fraction,
    set_options,
    step_rate,
)
from tests.make import training_settings


ADAMW = Settings(
    *(),
    optimizer="adamw",
    rate=0.01,
    batch_size=64,
    betas=(0.9, 0.95),
    weight_decay=0.3,
    spare_norms=True,
    schedule="cosine",
    warmup=0.1,
)


def tiny_vit() -> nn.Module:
    network: nn.Module = timm.create_model(
        "vit_tiny_patch16_224", img_size=16, patch_size=8, embed_dim=32, depth=1, num_heads=2, num_classes=5
    )
    return network


def test_norms_biases_and_positions_are_spared_the_decay() -> None:
    network = tiny_vit()
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = make_optimizer(network, ADAMW).param_groups
    decay = {names[id(each)]: group["weight_decay"] for group in groups for each in group["params"]}
    assert decay.keys() == set(names.values())
    decayed = {name for name, value in decay.items() if value}
    assert decayed == {"patch_embed.proj.weight", "head.weight"} | {
        f"blocks.0.{each}.weight" for each in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    }
    assert {decay[name] for name in decayed} == {0.3}
    everything = make_optimizer(network, replace(ADAMW, spare_norms=False)).param_groups
    assert [(group["weight_decay"], len(group["params"])) for group in everything] == [(0.3, len(names))]


def test_adamw_takes_the_steps_of_its_formula() -> None:
    layer = nn.Linear(3, 2).double()
    weight, bias = (each.detach().clone() for each in (layer.weight, layer.bias))
    optimizer = make_optimizer(layer, ADAMW)
    first, second = torch.zeros(2, 3, dtype=torch.float64), torch.zeros(2, 3, dtype=torch.float64)
    for step in (1, 2, 3):
        layer.weight.grad = torch.linspace(-1, 2, 6, dtype=torch.float64).view(2, 3) * step
        layer.bias.grad = torch.zeros(2, dtype=torch.float64)
        optimizer.step()
        first = 0.9 * first + 0.1 * layer.weight.grad
        second = 0.95 * second + 0.05 * layer.weight.grad**2
        size = (second / (1 - 0.95**step)).sqrt() + 1e-8
        weight = weight * (1 - 0.01 * 0.3) - 0.01 * first / (1 - 0.9**step) / size
    assert torch.allclose(layer.weight, weight, rtol=1e-12)
    assert torch.equal(layer.bias, bias)


def test_options_change_and_what_is_carried_stays() -> None:
    layer = nn.Linear(3, 2)
    optimizer = make_optimizer(layer, ADAMW)
    for parameter in layer.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    before = copy.deepcopy(optimizer.state_dict()["state"])
    set_options(optimizer, make_optimizer(layer, replace(ADAMW, weight_decay=0.2, betas=(0.8, 0.9))))
    assert [(group["weight_decay"], group["betas"]) for group in optimizer.param_groups] == [
        (0.0, (0.8, 0.9)),
        (0.2, (0.8, 0.9)),
    ]
    after = optimizer.state_dict()["state"]
    assert all(torch.equal(before[row][key], after[row][key]) for row in before for key in before[row])


@pytest.mark.parametrize("size", [1, 2, 5, 64, 200])
@pytest.mark.parametrize("images", [1, 2, 64, 65, 129, 191])
def test_every_image_is_in_a_batch_and_none_alone_unless_asked(images: int, size: int) -> None:
    sizes = batch_sizes(images, size)
    assert sum(sizes) == images
    assert all(each == size for each in sizes[:-1])
    assert 0 < sizes[-1] <= size + 1
    assert 1 not in sizes or size == 1 or images == 1


def test_the_rate_rises_then_falls_to_zero() -> None:
    rates = [cosine_rate(step, 100, 0.1) for step in range(100)]
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert max(rates) == rates[10] == 1.0
    assert rates[0] == pytest.approx(1 / 11)
    assert 0 < rates[-1] < 0.001
    assert cosine_rate(0, 10, 0.0) == 1.0


def test_the_rate_follows_a_warm_up_that_is_a_fraction_of_the_steps() -> None:
    # One epoch of 312 steps with the warm-up of 20 in 300 epochs: 20.8 steps.
    settings = replace(ADAMW, rate=1.6e-4, warmup=20 / 300)
    rates = [settings.rate * rate_fraction(settings, step, 312, 1) for step in range(312)]
    assert rates[:21] == pytest.approx([1.6e-4 * (step + 1) / 21.8 for step in range(21)])
    falling = [1.6e-4 * (1 + math.cos(math.pi * (step - 20.8) / 291.2)) / 2 for step in range(21, 312)]
    assert rates[21:] == pytest.approx(falling)


def test_a_stepped_rate_falls_at_its_milestones() -> None:
    settings = replace(training_settings(0.1), schedule="step", milestones=(100, 150), warmup=0.0)
    shares = [rate_fraction(settings, epoch * 7, 7, 200) for epoch in range(200)]
    assert shares == pytest.approx([1.0] * 100 + [0.1] * 50 + [0.01] * 50)
    assert rate_fraction(settings, 100 * 7 - 1, 7, 200) == 1.0
    assert [step_rate(step, 40, 0.1, [20], 0.5) for step in (0, 3, 4, 19, 20)] == [0.2, 0.8, 1.0, 1.0, 0.5]


def test_crops_and_flips_are_those_of_each_image_alone() -> None:
    x = torch.rand(40, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    moved = crop_and_flip(x, 2, True, 1)
    found = set()
    for image, after in zip(x, moved, strict=True):
        padded = torch.zeros(3, 10, 9)
        padded[:, 2:8, 2:7] = image
        matches = []
        for top in range(5):
            for left in range(5):
                window = padded[:, top : top + 6, left : left + 5]
                matches += [
                    (top, left, way) for way in (False, True) if torch.equal(after, window.flip(2) if way else window)
                ]
        assert len(matches) == 1
        found |= set(matches)
    # Every offset and both sides occur.
    assert {top for top, _, _ in found} == {left for _, left, _ in found} == set(range(5))
    assert {way for _, _, way in found} == {False, True}


def test_crops_and_flips_follow_their_generator_and_can_be_left_out() -> None:
    x = torch.rand(8, 1, 8, 8)
    one, same, other = (crop_and_flip(x, 1, True, seed) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert crop_and_flip(x, 0, False, 0) is x
    flipped = crop_and_flip(x, 0, True, 0)
    assert all(torch.equal(a, b) or torch.equal(a, b.flip(2)) for a, b in zip(flipped, x, strict=True))
