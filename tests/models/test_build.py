from pathlib import Path

import pytest
import timm
import torch

from seasoning.checkpoints.load import State, save_state
from seasoning.data import Samples
from seasoning.errors import BadInput, Mismatch, UnknownName
from seasoning.models import build_model, require_architecture


def test_a_soup_loads_in_plain_timm(robust_state: State, few: Samples, tmp_path: Path) -> None:
    save_state(robust_state, tmp_path / "soup.safetensors", {})
    network = timm.create_model("resnet_small", checkpoint_path=str(tmp_path / "soup.safetensors")).eval()
    model = build_model("resnet_small", num_classes=10, state=robust_state)
    # The network takes normalized images, the classifier pixels.
    torch.testing.assert_close(network((few.x - 0.5) / 0.5), model(few.x), rtol=0, atol=0)


def test_normalization_of_timm_networks_is_inside() -> None:
    model = build_model("resnet10t", num_classes=5)
    assert not model.training
    assert model.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    x = torch.rand(2, 3, 64, 64)
    expected = model.network((x - model.mean) / model.std)
    torch.testing.assert_close(model(x), expected, rtol=0, atol=0)
    assert set(model.network.state_dict()) == set(timm.create_model("resnet10t", num_classes=5).state_dict())


def test_other_channels_take_the_average_constants() -> None:
    model = build_model("resnet10t", num_classes=5, in_chans=1)
    assert model.mean.flatten().tolist() == pytest.approx([(0.485 + 0.456 + 0.406) / 3])
    assert model(torch.rand(1, 1, 64, 64)).shape == (1, 5)


def test_misfits_name_the_first_differing_tensor_with_both_shapes(robust_state: State) -> None:
    with pytest.raises(Mismatch, match=r"'fc.weight' has shape \(10, 32\) in the checkpoint, .* wants \(7, 32\)"):
        build_model("resnet_small", num_classes=7, state=robust_state)
    lacking = {name: tensor for name, tensor in robust_state.items() if name != "fc.bias"}
    with pytest.raises(Mismatch, match=r"lacks tensor 'fc.bias' of shape \(10,\)"):
        build_model("resnet_small", num_classes=10, state=lacking)
    with pytest.raises(Mismatch, match="'more' of shape"):
        build_model("resnet_small", num_classes=10, state={**robust_state, "more": torch.zeros(1)})


def test_unknown_architectures_and_options_are_named() -> None:
    with pytest.raises(UnknownName, match="did you mean 'resnet_small'"):
        build_model("resnet_smal", num_classes=10)
    with pytest.raises(BadInput, match="depth"):
        build_model("resnet10t", num_classes=10, depth=3)


def test_architectures_and_options_are_refused_before_they_are_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_architecture("resnet10t", {"in_chans": 1, "num_classes": 7})
    require_architecture("preact_resnet18", {"width": 4})
    with pytest.raises(UnknownName, match="did you mean 'resnet_small'"):
        require_architecture("resnet_smal")
    with pytest.raises(BadInput, match="takes no option 'widht'"):
        require_architecture("preact_resnet18", {"widht": 4})
    with pytest.raises(UnknownName, match="did you mean 'softplus'"):
        require_architecture("preact_resnet18", {"activation": "sofplus"})
    (tmp_path / "net.py").write_text("raise RuntimeError('not yet')")
    require_architecture(f"{tmp_path / 'net.py'}:build")
    with pytest.raises(BadInput, match=r"did you mean .*net\.py"):
        require_architecture(f"{tmp_path / 'nets.py'}:build")
    # Large networks take no memory for it, and one that needs memory to be built is left to its building.
    require_architecture("vit_giant_patch14_224")

    def needs_memory(*arguments: object, **options: object) -> None:
        raise RuntimeError("cannot copy out of meta tensor")

    monkeypatch.setattr(timm, "create_model", needs_memory)
    require_architecture("resnet10t")
