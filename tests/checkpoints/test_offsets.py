"""Places of tensors in PyTorch files, against the bytes there."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seasoning.checkpoints.load import load_ingredient, locate
from seasoning.checkpoints.offsets import TensorBytes


def stored(path: Path, place: TensorBytes) -> Tensor:
    count = torch.Size(place.shape).numel()
    content = path.read_bytes()[place.offset : place.offset + count * place.dtype.itemsize]
    return torch.frombuffer(bytearray(content), dtype=place.dtype).view(place.shape)


def parameters(fill: float) -> dict[str, Tensor]:
    return {"a": torch.full((10,), fill), "b": torch.arange(20.0).view(4, 5)[1:3] * fill, "n": torch.tensor(int(fill))}


@pytest.mark.parametrize(
    "content",
    [
        parameters(1),
        # Of the same sizes in the same order: only the values tell which is which.
        {"optimizer": parameters(2), "state_dict": parameters(1)},
        {"state_dict": parameters(1), "optimizer": parameters(2), "more": parameters(3)},
    ],
)
def test_places_hold_the_values(tmp_path: Path, content: dict[str, Any]) -> None:
    path = tmp_path / "a.pt"
    torch.save(content, path)
    places, state = locate(path), load_ingredient(path)
    assert set(places) == set(state)
    for name, place in places.items():
        assert isinstance(place, TensorBytes)
        assert torch.equal(stored(path, place), state[name])


def test_what_cannot_be_told_apart_is_a_tensor(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"state_dict": parameters(1), "optimizer": parameters(1), "turned": {}}, path)
    assert all(isinstance(place, Tensor) for place in locate(path).values())
    torch.save({"w": torch.rand(3, 4).t(), "v": torch.rand(3)}, path)
    places = locate(path)
    assert isinstance(places["w"], Tensor)
    assert isinstance(places["v"], TensorBytes)
