"""Soups in a live model: ingredients are read once, and every soup is mixed into the same network."""

from collections.abc import Sequence

from torch import Tensor, nn

from seasoning.attacks.outputs import in_bf16
from seasoning.checkpoints.constants import agreed
from seasoning.checkpoints.load import State
from seasoning.models import PixelClassifier
from seasoning.models.key_maps import carried_normalization, fitted
from seasoning.soup import mix, mix_into


__all__ = ["HalfPrecision", "LiveSoup"]


class HalfPrecision(nn.Module):
    """A model whose passes are taken in bfloat16; logits come back in float32.

    Args:
        model: Images in [0, 1] to logits.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Images `(B, C, H, W)` in [0, 1] to logits `(B, K)`."""
        return in_bf16(self.model, x)


class LiveSoup:
    """A model that becomes one soup after another.

    Args:
        model: The network; its parameters are overwritten.
        states: Parameters of the ingredients.
        names: What errors call them.
        policy: What becomes of running variances: `"mix"` or `"geometric"`.

    Raises:
        Mismatch: an ingredient does not fit the network, or two normalize images differently.
    """

    def __init__(self, model: PixelClassifier, states: Sequence[State], names: Sequence[str], policy: str) -> None:
        self._model, self._names, self._policy = model, list(names), policy
        carried = [carried_normalization(state, model.network, model.given) for state in states]
        agreed(zip(names, carried, strict=True))
        # One that says how it normalizes images comes last: the model keeps that for every soup.
        for state, _ in sorted(zip(states, carried, strict=True), key=lambda each: each[1] is not None):
            model.load(state)
        own = model.network.state_dict()
        self._states = [dict(fitted(state, model.network)) for state in states]
        # Others, such as checkpoints in half precision, are rounded as `mix` rounds them before they are loaded.
        self._fit = all(own[name].dtype == tensor.dtype for state in self._states for name, tensor in state.items())
        self._half = HalfPrecision(model).eval()
        self._there: tuple[float, ...] = ()

    def soup(self, weights: tuple[float, ...], precision: str = "full") -> nn.Module:
        """The live model as a soup, until the next one is asked for.

        Raises:
            BadInput: the weights make a running variance negative.
        """
        if weights != self._there:
            self._there = ()
            if self._fit:
                mix_into(self._model.network, self._states, weights, policy=self._policy, names=self._names)
            else:
                soup = mix(self._states, weights, policy=self._policy, names=self._names)
                self._model.network.load_state_dict(soup)
            self._there = weights
        return self._half if precision == "bf16" else self._model

    def state(self) -> State:
        """The tensors of the live model."""
        state: State = self._model.network.state_dict()
        return state
