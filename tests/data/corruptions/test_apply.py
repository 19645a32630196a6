"""The 15 common corruptions: what they do, and that nothing but id, seed and name decides it."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from seasoning.data import Samples
from seasoning.data.corruptions.apply import CORRUPTIONS, LEVELS, corrupt, corrupted
from seasoning.data.corruptions.severities import SEVERITIES, table_for
from seasoning.data.corruptions.textures import frost_texture
from seasoning.errors import BadInput, UnknownName


# Where the published levels do not make each severity change images more than the one before: by table, the severities
# that change less or as much. Between these levels lengths move in opposite directions, or one that has no effect.
EXCEPTIONS = {
    32: {"glass_blur": {3, 5}, "motion_blur": {4}, "frost": {3, 4, 5}, "elastic_transform": {2, 3, 4, 5}},
    224: {"glass_blur": {2, 4}, "frost": {2, 4}, "elastic_transform": {3}, "snow": {3}},
}
RANDOM = set(CORRUPTIONS) - {
    "defocus_blur",
    "zoom_blur",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg_compression",
}


def pictures(count: int, side: int) -> Tensor:
    """Drawn things over a gradient: edges, flat parts and colours, as photographs have."""
    images = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        low, high = rng.integers(20, 120), rng.integers(130, 235)
        ramp = np.linspace(low, high, side)
        ground = np.stack([np.add.outer(ramp * share, ramp * (1 - share)) for share in rng.random(3)], axis=-1)
        image = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
        pen = ImageDraw.Draw(image)
        for _ in range(5):
            x, y = int(rng.integers(side)), int(rng.integers(side))
            size = int(rng.integers(side // 8, side // 2))
            pen.ellipse((x - size, y - size, x + size // 2, y + size // 2), tuple(rng.integers(0, 256, 3).tolist()))
        images.append(torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy()))
    return torch.stack(images)


X = pictures(40, 32)
IDS = torch.arange(40) * 7919


def change(x: Tensor, y: Tensor) -> float:
    return float((x.float() - y.float()).abs().mean())


def test_the_fifteen() -> None:
    assert len(CORRUPTIONS) == 15
    for side in (32, 224):
        assert set(SEVERITIES[side]) == set(CORRUPTIONS)
        assert {len(levels) for levels in SEVERITIES[side].values()} == {5}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_ids_and_seeds_decide_and_the_batch_does_not(name: str) -> None:
    whole = corrupt(X, IDS, name, 3, seed=5)
    assert whole.dtype == torch.uint8
    assert torch.equal(whole, corrupt(X, IDS, name, 3, seed=5))
    rows = torch.tensor([31, 4, 17])
    assert torch.equal(corrupt(X[rows], IDS[rows], name, 3, seed=5), whole[rows])
    alone = torch.cat([corrupt(X[row : row + 1], IDS[row : row + 1], name, 3, seed=5) for row in range(6)])
    assert torch.equal(alone, whole[:6])
    other_seed, other_ids = corrupt(X, IDS, name, 3, seed=6), corrupt(X, IDS + 1, name, 3, seed=5)
    assert torch.equal(other_seed, whole) == (name not in RANDOM)
    assert torch.equal(other_ids, whole) == (name not in RANDOM)


@pytest.mark.parametrize("side", [32, 224])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_changes_grow_with_severity_but_for_the_published_exceptions(name: str, side: int) -> None:
    x = X if side == 32 else pictures(2, 224)
    ids = IDS[: len(x)]
    changes = [change(x, corrupt(x, ids, name, severity)) for severity in LEVELS]
    assert changes[0] > 0
    less = {severity for severity in LEVELS[1:] if changes[severity - 1] <= changes[severity - 2]}
    assert less <= EXCEPTIONS[side].get(name, set()), changes


@pytest.mark.parametrize(("height", "width"), [(20, 33), (33, 20), (64, 64), (97, 130)])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_any_size(name: str, height: int, width: int) -> None:
    x = pictures(2, 130)[:, :, :height, :width]
    for severity in (1, 5):
        y = corrupt(x, IDS[:2], name, severity)
        assert y.shape == x.shape
        assert change(x, y) < 130


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_grey_images_and_floats(name: str) -> None:
    grey = X[:3, :1]
    assert corrupt(grey, IDS[:3], name, 2).shape == grey.shape
    assert torch.equal(corrupt(X[:3].float() / 255, IDS[:3], name, 2), corrupt(X[:3], IDS[:3], name, 2))


def test_the_nearer_table_is_taken() -> None:
    assert [table_for(side, side) for side in (28, 32, 64, 84, 85, 96, 224, 512)] == [32] * 4 + [224] * 4
    assert table_for(32, 500) == 32


def flat(value: int, count: int = 30) -> Tensor:
    return torch.full((count, 3, 32, 32), value, dtype=torch.uint8)


def test_noises_have_the_published_size() -> None:
    ids = torch.arange(30)
    grey = flat(128)
    noise = corrupt(grey, ids, "gaussian_noise", 3).float() - 128
    assert float(noise.std()) == pytest.approx(0.08 * 255, rel=0.02)
    assert abs(float(noise.mean())) < 0.5
    shot = corrupt(grey, ids, "shot_noise", 5).float()
    # 50 photons at white: 25.1 at this grey, of standard deviation 5.01.
    assert float(shot.std()) == pytest.approx(5.01 / 50 * 255, rel=0.03)
    salted = corrupt(grey, ids, "impulse_noise", 5)
    assert float((salted == 0).float().mean()) == pytest.approx(0.035, rel=0.05)
    assert float((salted == 255).float().mean()) == pytest.approx(0.035, rel=0.05)
    # The strengths of 224-pixel images are their own.
    large = corrupt(torch.full((2, 3, 224, 224), 128, dtype=torch.uint8), ids[:2], "gaussian_noise", 1).float() - 128
    assert float(large.std()) == pytest.approx(0.08 * 255, rel=0.02)


@pytest.mark.parametrize(
    "name", ["defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "elastic_transform", "contrast"]
)
def test_what_moves_or_mixes_pixels_leaves_a_flat_image(name: str) -> None:
    for severity in LEVELS:
        assert int((corrupt(flat(90, 3), IDS[:3], name, severity).int() - 90).abs().max()) <= 1


def test_colours() -> None:
    x = torch.tensor([100, 50, 0], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    bright = corrupt(x, IDS[:1], "brightness", 5)
    # 0.3 more of the value: 176.5 of 100, and the hue and saturation of 100, 50, 0.
    assert bright[0, :, 3, 3].tolist() == pytest.approx([176, 88, 0], abs=1)
    low, before = corrupt(X, IDS, "contrast", 5).float(), X.float()
    torch.testing.assert_close(low.mean((2, 3)), before.mean((2, 3)), rtol=0, atol=0.5)
    torch.testing.assert_close(low.std((2, 3)), 0.15 * before.std((2, 3)), rtol=0.1, atol=0.5)


def test_weather_is_light() -> None:
    dark = flat(20, 8)
    for name in ("snow", "frost"):
        assert float(corrupt(dark, IDS[:8], name, 5).float().mean()) > 25, name
    # Fog is scaled back to the brightest value.
    fogged = corrupt(X, IDS, "fog", 5).float()
    assert bool((fogged.amax((1, 2, 3)) <= X.float().amax((1, 2, 3)) + 1).all())
    texture = frost_texture(2, 32)
    assert np.array_equal(texture, frost_texture(2, 32))
    assert not np.array_equal(texture, frost_texture(3, 32))
    assert 0.05 < float(texture.std()) < 0.4


def test_glass_takes_pixels_from_above_and_the_left() -> None:
    x = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    x[:, :, 16, 16] = 255
    # Reach 1 and one round: the published steps are -1 and 0.
    moved = torch.cat([corrupt(x, torch.tensor([each]), "glass_blur", 1) for each in range(40)])
    places = (moved[:, 0] > 200).nonzero()[:, 1:]
    assert {tuple(place) for place in places.tolist()} == {(16, 16), (16, 17), (17, 16), (17, 17)}


def test_a_data_set_keeps_ids_and_labels(few: Samples) -> None:
    made = corrupted(few, "fog", 3)
    assert made.name == "digits/few-c/fog/3"
    assert torch.equal(made.ids, few.ids)
    assert torch.equal(made.y, few.y)
    assert made.x.shape == few.x.shape


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UnknownName, match="did you mean 'fog'"):
        corrupt(X, IDS, "fogg", 3)
    with pytest.raises(BadInput, match="severity 6: expected one of 1, 2, 3, 4, 5"):
        corrupt(X, IDS, "fog", 6)
    with pytest.raises(BadInput, match="one or three channels"):
        corrupt(X[:, :2], IDS, "fog", 1)
    for height, width in ((1, 1), (7, 300), (32, 7)):
        with pytest.raises(BadInput, match=f"images of {width} x {height} pixels: corruptions want at least 8 on each"):
            corrupt(X[:1, :, :1, :1].expand(1, 3, height, width), IDS[:1], "pixelate", 5)
