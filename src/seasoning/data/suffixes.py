"""Which files are images by their names, and which of those can be read here."""

import os
from functools import cache

from PIL import Image, features


__all__ = ["is_image", "is_text", "is_unread_picture", "suffix_of"]

# Suffixes of images, and the reader of Pillow that each needs; a reader may be missing where Pillow was built.
_READERS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif"),
    "PNG": (".png", ".apng"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "TGA": (".tga",),
    "QOI": (".qoi",),
    "PCX": (".pcx",),
    "MPO": (".mpo",),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".jpf", ".jpc", ".j2c"),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif", ".hif"),
}
_CODECS = {"JPEG2000": "jpg_2000"}  # readers that are listed even where their library is missing
# Kinds of pictures that no reader of Pillow takes, or not as one picture.
_OTHER_PICTURES = frozenset(
    (".jxl", ".svg", ".psd", ".exr", ".hdr", ".ico", ".dcm", ".dicom", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf")
) | frozenset((".orf", ".rw2", ".raw", ".eps"))
_ALL_PICTURES = _OTHER_PICTURES.union(*_READERS.values())
# Labels and descriptions, which lie beside images and are none.
_NO_PICTURES = frozenset(
    (".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".md", ".rst", ".html", ".py", ".ini")
) | frozenset((".log", ".db", ".mat", ".parquet", ".sqlite", ".lst"))


def suffix_of(name: str) -> str:
    """The suffix of a file's name in lower case, such as `".png"`; empty where it has none."""
    return os.path.splitext(name)[1].lower()


def is_image(name: str) -> bool:
    """Whether a file is an image that can be read here."""
    return name.lower().endswith(_readable())


def is_unread_picture(name: str) -> bool:
    """Whether a file is a picture that cannot be read here."""
    return not is_image(name) and suffix_of(name) in _ALL_PICTURES


def is_text(name: str) -> bool:
    """Whether a file holds labels or a description, as they lie beside images."""
    return suffix_of(name) in _NO_PICTURES


@cache
def _readable() -> tuple[str, ...]:
    """Suffixes of the images that Pillow reads here."""
    Image.init()
    there = (
        suffixes
        for reader, suffixes in _READERS.items()
        if reader in Image.OPEN and (reader not in _CODECS or features.check_codec(_CODECS[reader]))
    )
    return tuple(suffix for suffixes in there for suffix in suffixes)
