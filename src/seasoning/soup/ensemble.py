"""The many-pass baseline: the ingredients side by side instead of mixed."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


__all__ = ["Ensemble"]


class Ensemble(nn.Module):
    """Mean of the probabilities of several classifiers; costs one forward pass for each.

    Its logits are the logarithms of the mean probabilities, so losses and attacks see an ordinary classifier.
    """

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        """Images `(B, C, H, W)` in [0, 1] to log-probabilities `(B, K)`."""
        log_probabilities = torch.stack([member(x).log_softmax(dim=1) for member in self.members])
        return log_probabilities.logsumexp(dim=0) - torch.log(torch.tensor(float(len(self.members))))
