"""A contact sheet: images with their labels, to look at before any number is believed."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms import functional

from seasoning.atomic import replacing


__all__ = ["Tile", "contact_sheet", "save_sheet"]

_SIDE, _GAP, _LETTER = 128, 6, 11
_INK, _PAPER = (30, 30, 30), (255, 255, 255)


class Tile(NamedTuple):
    """An image, `(3, H, W)` or `(1, H, W)` uint8, and the lines below it."""

    image: Tensor
    lines: tuple[str, ...]


def contact_sheet(tiles: Sequence[Tile], columns: int) -> Image.Image:
    """The tiles in rows; small images are enlarged pixel by pixel, large ones reduced."""
    font = ImageFont.load_default(_LETTER)
    below = max(len(tile.lines) for tile in tiles) * (_LETTER + 3) + 4
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (_GAP + columns * (_SIDE + _GAP), _GAP + rows * (_SIDE + below + _GAP)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for index, tile in enumerate(tiles):
        left = _GAP + index % columns * (_SIDE + _GAP)
        top = _GAP + index // columns * (_SIDE + below + _GAP)
        picture: Image.Image = functional.to_pil_image(tile.image).convert("RGB")
        scale = _SIDE / max(picture.size)
        size = max(round(picture.width * scale), 1), max(round(picture.height * scale), 1)
        picture = picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
        sheet.paste(picture, (left + (_SIDE - size[0]) // 2, top + (_SIDE - size[1]) // 2))
        for number, line in enumerate(tile.lines):
            pen.text((left, top + _SIDE + 2 + number * (_LETTER + 3)), _cut(line, font), _INK, font)
    return sheet


def save_sheet(sheet: Image.Image, path: Path) -> None:
    """Write a sheet as PNG, completely or not at all."""
    with replacing(path) as temporary:
        sheet.save(temporary, "PNG")


def _cut(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """As much of a line as fits below an image."""
    while line and font.getlength(line) > _SIDE:
        line = line[:-2] + "…" if len(line) > 2 else ""
    return line
