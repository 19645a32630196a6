"""Networks that return their logits in something, or in another type than the images."""

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seasoning.attacks import apgd
from seasoning.data import Samples
from seasoning.errors import BadInput
from seasoning.evaluation.evaluator import evaluate
from seasoning.models import PixelClassifier, build_model
from seasoning.threat import Threat


Pair = namedtuple("Pair", ["features", "logits"])


@dataclass
class Output:
    """As libraries of transformers return it."""

    logits: Tensor
    hidden: Any = None


@dataclass(slots=True)
class Slots:
    """Without a dictionary of its own."""

    logits: Tensor
    features: Tensor


class Model(nn.Module):
    """A linear network that wraps its logits."""

    def __init__(self, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.linear, self.wrap = nn.Linear(12, 3), wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.linear(x.flatten(1)))


CLEAR: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda y: y,
    "dict": lambda y: {"logits": y, "features": y[:, :2]},
    "dict of one": lambda y: {"out": y, "loss": None},
    "ordered dict": lambda y: OrderedDict(logits=y, aux=y + 1),
    "list": lambda y: [y],
    "tuple of one and none": lambda y: (y, None),
    "named tuple": lambda y: Pair(y[:, :1], y),
    "object": lambda y: Output(y, hidden=(y, y)),
    "namespace": lambda y: SimpleNamespace(logits=y, other=y * 2),
    "object with slots": lambda y: Slots(y, y * 2),
}
# With a number of classes that is known, three here.
CLEAR_BY_SHAPE: dict[str, Callable[[Tensor], Any]] = {
    "logits and features": lambda y: (y, y[:, :2]),
    "features and logits": lambda y: [y.repeat(1, 2), y],
    "features as maps": lambda y: {"out": y, "maps": y[:, :, None, None]},
    "loss and scores": lambda y: {"loss": y.mean(), "scores": y},
    "aside of a class less": lambda y: (y[:, :1], y, None),
}
UNCLEAR: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "tuple": (lambda y: (y, y[:, :2]), r"a tuple with item 0 of shape \(4, 3\), item 1 of shape \(4, 2\)"),
    "dict": (lambda y: {"a": y, "b": y}, r"a dict with a of shape \(4, 3\), b of shape \(4, 3\)"),
    "nothing": (lambda y: None, "a NoneType with no tensor"),
    "numbers": (lambda y: y.detach().numpy(), "a ndarray with no tensor"),
    "text": (lambda y: "cat", "a str with no tensor"),
    "classes": (lambda y: y.argmax(1), r"numbers of type torch\.int64: expected logits"),
}


def wrapped(wrap: Callable[[Tensor], Any]) -> PixelClassifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PixelClassifier(Model(wrap), (0.5,), (0.5,)).eval()


@pytest.mark.parametrize("kind", CLEAR)
def test_clear_outputs_give_their_logits(kind: str) -> None:
    x = torch.rand(4, 3, 2, 2)
    torch.testing.assert_close(wrapped(CLEAR[kind])(x), wrapped(CLEAR["tensor"])(x), rtol=0, atol=0)


@pytest.mark.parametrize("kind", UNCLEAR)
def test_unclear_outputs_are_refused_in_one_line(kind: str) -> None:
    wrap, words = UNCLEAR[kind]
    with pytest.raises(BadInput, match=f"the network returns {words}") as caught:
        wrapped(wrap)(torch.rand(4, 3, 2, 2))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", CLEAR_BY_SHAPE)
@pytest.mark.parametrize("count", [1, 3, 4])
def test_the_only_tensor_with_a_number_for_each_class_is_the_logits(kind: str, count: int) -> None:
    x, model, plain = torch.rand(count, 3, 2, 2), wrapped(CLEAR_BY_SHAPE[kind]), wrapped(CLEAR["tensor"])
    model.classes = 3
    torch.testing.assert_close(model(x), plain(x), rtol=0, atol=0)


@pytest.mark.parametrize("wrap", [lambda y: (y, y + 1), lambda y: (y[:, :2], y[:, 1:])])
def test_two_tensors_of_one_shape_or_none_of_the_right_one_stay_unclear(wrap: Callable[[Tensor], Any]) -> None:
    model = wrapped(wrap)
    model.classes = 3
    with pytest.raises(BadInput, match="have it return the logits"):
        model(torch.rand(4, 3, 2, 2))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("steps", [3])
def test_logits_of_other_types_are_attacked_as_those_of_the_images(dtype: torch.dtype, steps: int) -> None:
    x = torch.rand(20, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    plain = wrapped(CLEAR["tensor"])
    samples = Samples("made", torch.arange(20), x, plain(x).argmax(1), 3)
    attack, threat = partial(apgd, steps=steps), Threat("linf", 0.02)
    found = evaluate(wrapped(lambda y: y.to(dtype)), samples, attack=attack, threat=threat)
    expected = evaluate(plain, samples, attack=attack, threat=threat)
    assert (found.clean == expected.clean).mean() >= 0.95
    assert abs((found.adversarial == found.labels).mean() - (expected.adversarial == expected.labels).mean()) <= 0.1
    if dtype == torch.float64:
        assert (found.adversarial == expected.adversarial).all()


def test_gradients_reach_the_images_and_autocast_is_undone() -> None:
    model, x = wrapped(lambda y: {"logits": y.half()}), torch.rand(4, 3, 2, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(x).sum(), x)
    assert gradient.dtype == torch.float32
    assert bool((gradient != 0).any())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert wrapped(CLEAR["tensor"])(x).dtype == torch.float32


def test_a_file_of_a_network_in_float64_is_measured(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, n):\n        super().__init__(); self.l = nn.Linear(12, n)\n"
        "    def forward(self, x):\n        return self.l(x.flatten(1)).double(), x\n"
        "def make(num_classes):\n    return Net(num_classes)\n"
    )
    model = build_model(f"{tmp_path / 'net.py'}:make", num_classes=3)
    x = torch.rand(6, 3, 2, 2)
    samples = Samples("made", torch.arange(6), x, model(x).argmax(1), 3)
    found = evaluate(model, samples, attack=partial(apgd, steps=2), threat=Threat("l2", 1.0))
    assert (found.clean == found.labels).all()
