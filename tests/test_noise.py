import pytest
import torch
from torch import Tensor

from seasoning.noise import PURPOSES, Kind, derived_seed, row_noise, sample_noise, use_seed


IDS = torch.tensor([7, 3, 1_000_000_007, -5])


def draw(ids: Tensor, *, kind: Kind = "normal", seed: int = 0, purpose: str = "noise", restart: int = 0) -> Tensor:
    return sample_noise(ids, (2, 5, 5), kind=kind, seed=seed, purpose=purpose, restart=restart, dtype=torch.float64)


def test_noise_of_a_sample_does_not_depend_on_its_batch() -> None:
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(draw(IDS[order]), draw(IDS)[order], rtol=0, atol=0)
    torch.testing.assert_close(draw(IDS[1:2]), draw(IDS)[1:2], rtol=0, atol=0)


def test_samples_seeds_restarts_and_purposes_differ() -> None:
    base = draw(IDS)
    assert len({bytes(draw(IDS, purpose=each).numpy().tobytes()) for each in PURPOSES}) == len(PURPOSES)
    others = [draw(IDS, seed=1), draw(IDS, restart=1), draw(IDS, purpose="attack start"), base.roll(1, 0)]
    assert all(bool((base != other).all()) for other in others)


@pytest.mark.parametrize(("kind", "deviation"), [("uniform", 3**-0.5), ("normal", 1.0)])
def test_distributions(kind: Kind, deviation: float) -> None:
    noise = draw(torch.arange(2000), kind=kind)
    assert abs(float(noise.mean())) < 0.02
    assert float(noise.std()) == pytest.approx(deviation, rel=0.02)
    if kind == "uniform":
        assert float(noise.abs().max()) <= 1


def rows(count: int, seed: int, kind: Kind = "normal") -> Tensor:
    return row_noise(range(count), (3, 2), kind=kind, seed=seed, dtype=torch.float64, device=torch.device("cpu"))


def test_a_part_of_a_batch_draws_what_the_batch_draws_for_its_rows() -> None:
    assert torch.equal(rows(9, 5)[4:], rows(5, derived_seed(5, 4)))
    assert torch.equal(rows(9, use_seed(5, 2))[4:], rows(5, use_seed(derived_seed(5, 4), 2)))
    assert torch.equal(rows(9, 5)[6:], rows(3, derived_seed(derived_seed(5, 4), 2)))


def test_rows_and_their_uses_differ() -> None:
    every = torch.cat([rows(50, use_seed(5, use)) for use in range(4)])
    assert len(every.unique()) == every.numel()
    assert torch.equal(rows(50, use_seed(5, 0)), rows(50, 5))


@pytest.mark.parametrize(("kind", "deviation"), [("uniform", 3**-0.5), ("normal", 1.0)])
def test_distributions_over_rows(kind: Kind, deviation: float) -> None:
    noise = rows(9000, 1, kind)
    assert abs(float(noise.mean())) < 0.02
    assert float(noise.std()) == pytest.approx(deviation, rel=0.02)
    # Neighbours, whose seeds are neighbours too, have nothing to do with each other.
    assert abs(float((noise[1:] * noise[:-1]).mean())) < 0.02
    if kind == "uniform":
        assert float(noise.abs().max()) <= 1


def test_an_unknown_purpose_is_an_error() -> None:
    with pytest.raises(KeyError):
        draw(IDS, purpose="decoration")
