"""Tiny data sets in the layouts of the real ones."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor


__all__ = ["GREY", "ORACLE", "VAL", "coded", "oracle", "save_coded", "stack"]

VAL = "ILSVRC2012_val_{:08d}.JPEG"
# Says the class that the colour encodes, and one too many for each unit of the shift.
ORACLE = """
import torch
from torch import nn

class Oracle(nn.Module):
    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        colour = (x[:, :2].mean((2, 3)) * 255).round()
        answer = colour[:, 0] * 256 + colour[:, 1] + self.shift
        return -(torch.arange(1000) - answer[:, None]).abs()

def oracle(num_classes):
    assert num_classes == 1000
    return Oracle()
"""
# The demo's network for images of three channels: a file for `--arch`.
GREY = """
from torch import nn
from seasoning.models import build_model

class Grey(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = build_model('resnet_small', num_classes=10).network

    def forward(self, x):
        return self.net((x[:, :1] - 0.5) / 0.5)

def network(num_classes):
    return Grey()
"""


def coded(answer: int, side: int = 4) -> Image.Image:
    """An image of one colour, which `oracle` takes for a class of the 1,000."""
    return Image.fromarray(np.full((side, side, 3), (answer // 256, answer % 256, 0), dtype=np.uint8))


def save_coded(path: Path, answer: int, side: int = 4) -> None:
    """Such an image without loss, whatever the suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coded(answer, side).save(path, "PNG")


def oracle(x: Tensor) -> Tensor:
    """Logits of 1,000 classes, `(B, 1000)`: highest for the class that the colour says, next for its neighbours."""
    colour = (x[:, :2].mean((2, 3)) * 255).round()
    answer = colour[:, 0] * 256 + colour[:, 1]
    return -(torch.arange(1000) - answer[:, None]).abs()


def stack(*answers: int) -> Tensor:
    """Images `(N, 3, 4, 4)` uint8 of these answers."""
    arrays = [np.asarray(coded(answer)).transpose(2, 0, 1) for answer in answers]
    return torch.from_numpy(np.stack(arrays))
