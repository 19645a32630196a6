"""What no weighted sum is right for is refused: factors of products, constants that differ, variances below zero."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from seasoning.errors import BadInput, Mismatch
from seasoning.soup import check_mixable, mix, mix_groups, mix_into, model_stock
from seasoning.soup.fit import is_variance, require_linear


class LowRank(nn.Module):
    """A linear layer with an adapter beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.base, self.lora_A, self.lora_B = nn.Linear(4, 4), nn.Linear(4, 2, bias=False), nn.Linear(2, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base(x) + self.lora_B(self.lora_A(x))
        return out


def pruned() -> nn.Module:
    layer = nn.Linear(4, 4)
    prune.random_unstructured(layer, "weight", 0.5)
    return layer


PRODUCTS = {
    "low rank": LowRank,
    "weight norm": lambda: weight_norm(nn.Linear(4, 4)),
    "weight norm today": lambda: parametrizations.weight_norm(nn.Linear(4, 4)),
    "spectral norm": lambda: spectral_norm(nn.Linear(4, 4)),
    "spectral norm today": lambda: parametrizations.spectral_norm(nn.Linear(4, 4)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(4, 4)),
    "pruned": pruned,
}


def made(kind: str, seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(4, 4), PRODUCTS[kind]())
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter))
    return network


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("kind", PRODUCTS)
def test_factors_of_products_are_refused_and_rightly_so(kind: str) -> None:
    states = [made(kind, seed).state_dict() for seed in (1, 2)]
    with pytest.raises(Mismatch, match=r"factors of .*, and mixed factor by factor their product is not the mix"):
        mix(states, (0.5, 0.5))
    with pytest.raises(Mismatch, match="factors of"):
        mix_into({name: tensor.clone() for name, tensor in states[0].items()}, states, (0.5, 0.5))
    with pytest.raises(Mismatch, match="factors of"):
        model_stock(states[0], states)
    with pytest.raises(Mismatch, match="factors of"):
        mix_groups(states, (0.5, 0.5), {next(iter(states[0])): (0.1, 0.9)})
    assert check_mixable(states).verdict.startswith("do not mix: ")
    # One ingredient is its own soup.
    assert list(mix(states[:1], (1.0,))) == list(states[0])


def test_the_product_of_mixed_factors_is_far_from_the_mix() -> None:
    states = [made("low rank", seed).state_dict() for seed in (1, 2)]
    factors = [(state["1.lora_B.weight"], state["1.lora_A.weight"]) for state in states]
    products = [left @ right for left, right in factors]
    naive = (factors[0][0] + factors[1][0]) / 2 @ ((factors[0][1] + factors[1][1]) / 2)
    right = (products[0] + products[1]) / 2
    assert float((naive - right).norm() / right.norm()) > 0.3


@pytest.mark.parametrize(
    "names",
    [
        ["a.lora_A.default.weight", "a.lora_B.default.weight"],
        ["lora_unet_a.lora_up.weight", "lora_unet_a.lora_down.weight"],
        ["a.to_q_lora.up.weight", "a.to_q_lora.down.weight"],
        ["blocks.0.attn.qkv.linear_a_q.weight", "blocks.0.attn.qkv.linear_b_q.weight"],
        ["a.hada_w1_a", "a.hada_w1_b"],
        ["a.lokr_w1", "a.lokr_w2"],
        ["a.ia3_l"],
        ["a.weight_g", "a.weight_v"],
        ["a.parametrizations.weight.original0", "a.parametrizations.weight.original1"],
        ["parametrizations.weight.original0", "parametrizations.weight.original1"],
        ["a.weight_orig", "a.weight_u"],
        ["a.weight_orig", "a.weight_mask"],
    ],
)
def test_usual_names_of_factors_are_known(names: list[str]) -> None:
    with pytest.raises(Mismatch, match="factors of"):
        require_linear(["stem.weight", *names])


@pytest.mark.parametrize(
    "names",
    [
        ["blocks.0.attn.qkv.weight", "blocks.0.attn.q_bias", "blocks.0.attn.v_bias"],
        ["flora.weight", "exploration.weight", "aurora.bias", "left.lorax.weight"],
        ["a.weight", "a.weight_g", "b.weight_v"],
        ["a.weight_orig", "b.weight_mask", "loft.weight"],
    ],
)
def test_other_names_are_no_factors(names: list[str]) -> None:
    require_linear(names)


VARIANCES = ["running_var", "bn.running_var", "bn.moving_variance", "norm.var", "bn.variance", "a.moving_var", "var"]
VARIANCES += ["bn.var_ema", "bn.var_ema.average", "bn.running_var_0"]
VARIANCES += ["ema_var", "a.batch_var", "a.pop_variance", "0.sigma2", "a.running_std", "bn1_running_var", "bn.var0"]


@pytest.mark.parametrize("name", VARIANCES)
def test_running_variances_are_known_by_any_name(name: str) -> None:
    assert is_variance(name)
    states = [{name: torch.tensor([0.1, 1.0])}, {name: torch.tensor([1.0, 1.0])}]
    with pytest.raises(BadInput, match=rf"the running variance '{name}' negative \(-0.26\)"):
        mix(states, (1.4, -0.4))
    soup = mix(states, (1.4, -0.4), policy="geometric")[name]
    assert soup.tolist() == pytest.approx([0.1**1.4, 1.0])


@pytest.mark.parametrize("name", ["weight", "fc.log_var", "a.logvar", "vars.weight", "variance.bias", "std", "a.lnvar"])
def test_other_tensors_may_be_negative(name: str) -> None:
    assert not is_variance(name)
    states = [{name: torch.tensor([0.1])}, {name: torch.tensor([1.0])}]
    assert mix(states, (1.4, -0.4))[name].item() == pytest.approx(-0.26)


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ("mean", "std"),
        ("normalize.mean", "normalize.std"),
        ("0.mean", "0.std"),
        ("module.normalizer.new_mean", "module.normalizer.new_std"),
        ("pixel_mean", "pixel_std"),
        ("mu", "sigma"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_constants_that_differ_are_not_averaged(mean: str, std: str, dtype: torch.dtype) -> None:
    def state(value: float) -> dict[str, Tensor]:
        constants = {mean: torch.full((1, 3, 1, 1), value).to(dtype), std: torch.full((3,), 0.25).to(dtype)}
        return {"fc.weight": torch.ones(2, 2), **constants}

    with pytest.raises(Mismatch, match=rf"ingredient 1 normalizes images with '{mean}' .* and ingredient 2 with"):
        mix([state(0.5), state(0.25)], (0.5, 0.5))
    with pytest.raises(Mismatch):
        mix_into(state(0.0), [state(0.5), state(0.25)], (1.0, 0.0))
    assert check_mixable([state(0.5), state(0.25)]).verdict.startswith("do not mix: ingredient 1 normalizes images")
    # The same, rounded; and a live model takes over what its ingredients have.
    live = state(0.0)
    mix_into(live, [state(0.5), state(0.5004)], (0.5, 0.5))
    assert live[mean].flatten().tolist() == pytest.approx([0.5002] * 3, abs=4e-4)


def test_statistics_of_blocks_are_no_constants() -> None:
    states = [
        {"blocks.3.norm.mean": torch.full((4,), value), "blocks.3.norm.std": torch.ones(4)} for value in (0.1, 0.9)
    ] + [{"blocks.3.norm.mean": torch.zeros(4), "blocks.3.norm.std": torch.ones(4)}]
    assert mix(states, (0.5, 0.5, 0.0))["blocks.3.norm.mean"].tolist() == pytest.approx([0.5] * 4)
    wide = [{"norm.mean": torch.full((64,), value), "norm.std": torch.ones(64)} for value in (0.1, 0.9)]
    assert mix(wide, (0.5, 0.5))["norm.mean"][0].item() == pytest.approx(0.5)
