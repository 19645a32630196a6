"""Options of an architecture that concern the data: classes, channels and size of the images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from seasoning.checkpoints.load import save_state
from seasoning.commands.check import check_checkpoints
from seasoning.commands.data import build_for, in_grey, seen_by, view_of
from seasoning.commands.evaluate import SetResult, evaluate_sets
from seasoning.commands.mix import make_soup
from seasoning.commands.search import run_plan
from seasoning.config.evaluate import EvaluateSpec
from seasoning.config.search import make_plan
from seasoning.config.sections import NetworkSection
from seasoning.data import Samples
from seasoning.errors import BadInput, Mismatch
from seasoning.models import PixelClassifier, build_model


SIZE, KINDS = 8, 3


def colours() -> np.ndarray[Any, Any]:
    """Images of three kinds, far apart in every channel: uint8 (N, H, W, 3)."""
    noise = np.random.default_rng(0).integers(0, 30, (4 * KINDS, SIZE, SIZE, 3))
    return (noise + 80 * (np.arange(4 * KINDS) % KINDS)[:, None, None, None]).astype(np.uint8)


def written(folder: Path, images: np.ndarray[Any, Any]) -> Path:
    for number, image in enumerate(images):
        place = folder / "abc"[number % KINDS] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place)
    return folder


def luminance(images: np.ndarray[Any, Any]) -> Tensor:
    """As Pillow has it, `(N, 1, H, W)`."""
    return torch.stack([torch.from_numpy(np.array(Image.fromarray(each).convert("L")))[None] for each in images])


def grey_network(path: Path) -> PixelClassifier:
    """A network of one channel, right on images of these kinds by their brightness."""
    model = build_model("resnet_small", num_classes=KINDS, in_chans=1)
    save_state(model.network.state_dict(), path, {})
    return model


def evaluated(checkpoint: Path, data: Path, folder: Path, **options: Any) -> SetResult:
    (result,) = evaluate_sets(
        checkpoint,
        EvaluateSpec(network=NetworkSection(architecture="resnet_small", options=options), data=(str(data),)),
        folder,
        watch=lambda doing, done, total: None,
    )
    return result


def test_grey_is_the_luminance_and_grey_images_keep_their_values() -> None:
    images = colours()
    x = torch.from_numpy(images).permute(0, 3, 1, 2)
    samples = Samples("made", torch.arange(len(x)), x, torch.arange(len(x)) % KINDS, KINDS)
    assert torch.equal(in_grey(samples).x, luminance(images))
    plain = x[:, :1].repeat(1, 3, 1, 1)
    same = Samples("made", torch.arange(len(x)), plain, samples.y, KINDS)
    assert torch.equal(in_grey(same).x, plain[:, :1])
    floats = Samples("made", torch.arange(len(x)), plain.float() / 255, samples.y, KINDS)
    torch.testing.assert_close(in_grey(floats).x, plain[:, :1].float() / 255)


@pytest.mark.parametrize("grey", [False, True])
def test_a_network_of_one_channel_sees_folders_in_grey(tmp_path: Path, grey: bool) -> None:
    images = colours()
    given = luminance(images)[:, 0].numpy() if grey else images
    data, model = written(tmp_path / "images", given), grey_network(tmp_path / "net")
    with torch.no_grad():
        right = (model(luminance(images).float() / 255).argmax(1) == torch.arange(len(images)) % KINDS).float().mean()
    found = evaluated(tmp_path / "net", data, tmp_path / "run", in_chans=1)
    assert found.lines["clean"].estimate.value == pytest.approx(float(right))
    with pytest.raises(Mismatch, match=r"takes 1 channel in the checkpoint, 3 here: build it with in_chans=1"):
        evaluated(tmp_path / "net", data, tmp_path / "run")


def test_searching_mixing_and_checking_see_them_so_too(tmp_path: Path) -> None:
    data, model = written(tmp_path / "images", colours()), grey_network(tmp_path / "a")
    near = {name: each + 0.01 if each.dim() > 1 else each for name, each in model.network.state_dict().items()}
    save_state(near, tmp_path / "b", {})
    paths = [tmp_path / "a", tmp_path / "b"]
    about: dict[str, Any] = {"architecture": "resnet_small", "options": {"in_chans": 1}, "data": str(data)}
    assert check_checkpoints(paths, **about).barriers
    with pytest.raises(BadInput, match="no batch-norm layer"):
        make_soup(paths, (0.5, 0.5), tmp_path / "soup", policy="clean", **about)
    plan = make_plan(
        about
        | {"ingredients": {path.name: str(path) for path in paths}, "data": {"pets": str(data)}}
        | {"shots": 6, "strategy": "uniform", "space": {"step": 0.5}}
    )
    (answer,) = run_plan(plan, tmp_path / "run").answers
    alone = evaluated(tmp_path / "a", data, tmp_path / "alone", in_chans=1).lines["clean"].estimate.value
    assert answer.ingredients[0].judged.whole.value == pytest.approx(alone)


def test_options_that_the_data_contradict_are_named() -> None:
    build_for("resnet_small", {"num_classes": 5, "in_chans": 3}, outputs=5, channels=3)
    with pytest.raises(BadInput, match=r"num_classes=4 of the architecture, and the data have 5 classes: leave"):
        build_for("resnet_small", {"num_classes": 4}, outputs=5, channels=3)
    with pytest.raises(BadInput, match=r"in_chans=3 of the architecture, and the images have 1: leave the option out"):
        build_for("resnet_small", {"in_chans": 3}, outputs=5, channels=1)
    for options in ({"foo": 1}, {"stem_width": "wide"}, {"block_args": 3}):
        with pytest.raises(BadInput, match=rf"'resnet10t' with options \[.*'{next(iter(options))}'"):
            build_for("resnet10t", options, outputs=5, channels=3)


@pytest.mark.parametrize(
    ("architecture", "options", "size"),
    [
        ("vit_tiny_patch16_224", {"img_size": 160}, (160, 160)),
        ("deit3_small_patch16_224", {"img_size": (160, 192), "embed_dim": 12, "num_heads": 2}, (160, 192)),
        ("mixer_s16_224", {"img_size": 96}, (96, 96)),
        ("resnet10t", {}, None),
    ],
)
def test_the_view_has_the_size_that_the_network_was_built_for(
    architecture: str, options: dict[str, Any], size: tuple[int, int] | None
) -> None:
    small = {"depth": 1} if "vit" in architecture else {}
    model = build_for(architecture, options | small, outputs=3, channels=3)
    assert view_of(model).size == (size or (176, 176))
    assert view_of(model).fixed == (size is not None)
    samples = Samples("made", torch.arange(1), torch.rand(1, 3, *view_of(model).size), torch.zeros(1).long(), 3)
    assert seen_by(model, samples) is samples


def test_a_network_of_any_size_leaves_images_as_they_are() -> None:
    options = {"dynamic_img_size": True, "depth": 1, "embed_dim": 12, "num_heads": 2}
    model = build_for("vit_tiny_patch16_224", options, outputs=3, channels=3)
    assert not view_of(model).fixed
    assert model(torch.rand(1, 3, 64, 96)).shape == (1, 3)


def test_images_that_a_network_does_not_take_are_told_before_the_work() -> None:
    model = build_for("vit_tiny_patch16_224", {"depth": 1}, outputs=3, channels=3)
    samples = Samples("made", torch.arange(2), torch.rand(2, 3, 32, 32), torch.zeros(2).long(), 3)
    with pytest.raises(BadInput, match=r"does not take images of shape \(3, 32, 32\) .*bring them to its size"):
        seen_by(model, samples)
