"""Branches of normalization: apart in what is theirs, one in all else, and loaded by the main one."""

from typing import Any

import pytest
import timm
import torch
from timm.layers import convert_splitbn_model
from torch import Tensor, nn

from seasoning.checkpoints.branches import holds_branches, main_branch
from seasoning.errors import BadInput
from seasoning.models import auxiliary_branch, build_model, split_norms
from seasoning.soup import mix_branches


# One of batch norm, one of layer norm.
FAMILIES: dict[str, dict[str, Any]] = {
    "resnet10t": {},
    "vit_tiny_patch16_224": {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 2},
}


@pytest.fixture(params=FAMILIES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def plain(name: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network: nn.Module = timm.create_model(name, num_classes=5, **FAMILIES[name])
    return network.eval()


def branched(name: str) -> nn.Module:
    """A network whose two branches differ."""
    network, generator = plain(name), torch.Generator().manual_seed(1)
    split_norms(network)
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            if tensor.is_floating_point() and tensor.dim() == 1:
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return network


def images(count: int = 4) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def test_a_split_network_computes_what_it_did_in_both_branches(name: str) -> None:
    network, x = plain(name), images()
    before, keys = network(x), set(network.state_dict())
    split_norms(network)
    assert torch.equal(network(x), before)
    with auxiliary_branch(network):
        assert torch.equal(network(x), before)
    assert keys < set(network.state_dict())
    assert set(main_branch(network.state_dict())) == keys


def test_the_names_are_those_of_timm() -> None:
    theirs = convert_splitbn_model(timm.create_model("resnet10t", num_classes=5), 2).state_dict()
    ours = branched("resnet10t").state_dict()
    assert {key: tensor.shape for key, tensor in ours.items()} == {key: tensor.shape for key, tensor in theirs.items()}


def test_branches_share_no_parameter_of_normalization_and_every_other(name: str) -> None:
    network, x = branched(name), images()
    network(x).sum().backward()
    of_main = {key for key, each in network.named_parameters() if each.grad is not None}
    network.zero_grad()
    with auxiliary_branch(network):
        network(x).sum().backward()
    of_other = {key for key, each in network.named_parameters() if each.grad is not None}
    own = {key for key, _ in plain(name).named_parameters()}
    assert of_main == own
    assert of_main | of_other == {key for key, _ in network.named_parameters()}
    assert {key for key in of_other if ".aux_bn.0." in key} == of_other - of_main
    assert {key.replace(".aux_bn.0", "") for key in of_other} == own
    # What is in the one alone are the layers of normalization.
    assert all(tensor.dim() == 1 for key, tensor in network.named_parameters() if key in of_main - of_other)


def test_each_branch_counts_its_own_images() -> None:
    network = plain("resnet10t").train()
    split_norms(network)
    first: Any = network.get_submodule("bn1")
    x, attacked = images(), 1 - images()
    stem = network.get_submodule("conv1")
    with torch.no_grad():
        network(x)
        main = {key: tensor.clone() for key, tensor in network.state_dict().items() if "aux_bn" not in key}
        with auxiliary_branch(network):
            network(attacked)
        after = network.state_dict()
        assert all(torch.equal(after[key], tensor) for key, tensor in main.items())
        for layer, seen in ((first, x), (first.aux_bn[0], attacked)):
            torch.testing.assert_close(layer.running_mean, 0.1 * stem(seen).mean((0, 2, 3)))
            variance = stem(seen).transpose(0, 1).flatten(1).var(1)
            torch.testing.assert_close(layer.running_var, 0.9 + 0.1 * variance)
            assert int(layer.num_batches_tracked) == 1


def test_the_main_branch_comes_back_after_an_error(name: str) -> None:
    network, x = branched(name), images()
    before = network(x)
    with auxiliary_branch(network):
        assert not torch.equal(network(x), before)
    with pytest.raises(RuntimeError), auxiliary_branch(network):
        network(x[:, :1])
    assert torch.equal(network(x), before)


def test_a_checkpoint_of_branches_is_measured_by_the_main_one_and_mixes_by_branch(name: str) -> None:
    network, x = branched(name), images()
    state = network.state_dict()
    options: dict[str, Any] = {"num_classes": 5, "mean": (0.0,) * 3, "std": (1.0,) * 3, **FAMILIES[name]}
    assert torch.equal(build_model(name, state=state, **options)(x), network(x))
    prefixed = {f"module.{key}": tensor for key, tensor in state.items()}
    assert torch.equal(build_model(name, state=prefixed, **options)(x), network(x))
    for weights in ((1.0, 0.0), (0.0, 1.0), (0.25, 0.75)):
        soup = mix_branches(state, weights)
        assert not holds_branches(soup)
        model = build_model(name, state=soup, **options)
        if weights == (0.0, 1.0):
            with auxiliary_branch(network):
                assert torch.equal(model(x), network(x))
        elif weights == (1.0, 0.0):
            assert torch.equal(model(x), network(x))
        else:
            key = next(each for each in soup if f"{each.rpartition('.')[0]}.aux_bn.0.weight" in state)
            other = key.replace(".weight", ".aux_bn.0.weight").replace(".bias", ".aux_bn.0.bias")
            torch.testing.assert_close(soup[key], 0.25 * state[key] + 0.75 * state[other])


def test_what_has_nothing_to_split_or_is_split_is_refused() -> None:
    with pytest.raises(BadInput, match="Linear has no batch, layer or group normalization to split"):
        split_norms(nn.Linear(2, 2))
    network = branched("resnet10t")
    with pytest.raises(BadInput, match="have branches already"):
        split_norms(network)
    with pytest.raises(BadInput, match="have no branches: split them first"), auxiliary_branch(plain("resnet10t")):
        pass
