"""The live model of a search: the bits of `mix`, and the normalization that its ingredients say."""

import pytest
import torch
from torch import Tensor

from seasoning.errors import Mismatch
from seasoning.evaluation.live_soup import LiveSoup
from seasoning.models import PixelClassifier, build_model
from seasoning.soup import mix


def network() -> PixelClassifier:
    return build_model("preact_resnet18", num_classes=3, width=2)


def states(dtype: torch.dtype) -> list[dict[str, Tensor]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base = network().network.state_dict()
        moved = [
            {name: tensor + 0.1 * torch.rand(tensor.shape) for name, tensor in base.items() if tensor.dim()}
            for _ in range(2)
        ]
    return [
        {name: each.get(name, tensor).to(dtype) if tensor.dim() else tensor for name, tensor in base.items()}
        for each in moved
    ]


def carried(state: dict[str, Tensor], mean: float, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    constants = {"normalize.mean": torch.full((1, 3, 1, 1), mean), "normalize.std": torch.full((1, 3, 1, 1), 0.25)}
    return {f"model.{name}": tensor for name, tensor in state.items()} | {
        name: each.to(dtype) for name, each in constants.items()
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("which", [(True, True), (True, False), (False, True)])
def test_every_soup_normalizes_as_its_ingredients_say(dtype: torch.dtype, which: tuple[bool, bool]) -> None:
    own = states(dtype)
    given = [carried(state, 0.125, dtype) if says else state for state, says in zip(own, which, strict=True)]
    live = LiveSoup(network(), given, ["a", "b"], "mix")
    x = torch.rand(4, 3, 8, 8)
    for weights in ((0.3, 0.7), (1.0, 0.0), (0.0, 1.0)):
        expected = build_model(
            "preact_resnet18", num_classes=3, width=2, mean=(0.125,), std=(0.25,), state=mix(own, weights)
        )
        with torch.no_grad():
            torch.testing.assert_close(live.soup(weights)(x), expected(x), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_without_any_said_the_network_keeps_those_it_was_built_with(dtype: torch.dtype) -> None:
    model = build_model("preact_resnet18", num_classes=3, width=2, mean=(0.125,), std=(0.25,))
    live = LiveSoup(model, states(dtype), ["a", "b"], "mix")
    live.soup((0.5, 0.5))
    assert model.constants == ((0.125,) * 3, (0.25,) * 3)


def test_ingredients_that_normalize_differently_are_refused() -> None:
    one, other = states(torch.float32)
    with pytest.raises(Mismatch, match=r"a normalizes images with mean \[0.5, 0.5, 0.5\] and b with"):
        LiveSoup(network(), [carried(one, 0.5), carried(other, 0.125)], ["a", "b"], "mix")
