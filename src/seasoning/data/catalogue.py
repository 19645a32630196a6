"""What is published about each data set: how many images, how they lie in folders, and where they come from."""

from dataclasses import dataclass


__all__ = ["FACTS", "UNLABELLED", "V2_VARIANTS", "SetFacts", "wanted"]

UNLABELLED = 3163  # validation images of ImageNet without a reassessed label
V2_VARIANTS = ("matched-frequency", "threshold0.7", "top-images")


@dataclass(frozen=True, slots=True)
class SetFacts:
    """One data set.

    Args:
        title: Its name in prose.
        images: How many it has (of one subset, where it has several); `None` where anything is right.
        per_class: How many each class has, where all have as many.
        layout: What its folder looks like.
        origin: Where to get it, in words.
        subsets: How many sets of that size it consists of.
    """

    title: str
    images: int | None
    per_class: int | None
    layout: str
    origin: str
    subsets: int = 1


_WNIDS = "a folder for each class, named by its WordNet id: {}"
_IMAGENET = "image-net.org, after registration: the archive ILSVRC2012_img_val.tar and the development kit beside it"

FACTS: dict[str, SetFacts] = {
    "imagenet": SetFacts(
        "ImageNet, validation",
        50_000,
        50,
        _WNIDS.format("n01440764/ILSVRC2012_val_00000293.JPEG")
        + "; or the archive ILSVRC2012_img_val.tar (or its flat content) beside val.txt, Kaggle's "
        "LOC_val_solution.csv or the development kit ILSVRC2012_devkit_t12.tar.gz",
        _IMAGENET,
    ),
    "imagenet-real": SetFacts(
        "ImageNet with reassessed labels (ReaL)",
        50_000 - UNLABELLED,
        None,
        "as imagenet; real.json in the same folder replaces the copy of the labels that timm ships",
        f"{_IMAGENET}; the labels are in the repository google-research/reassessed-imagenet",
    ),
    "imagenet-v2": SetFacts(
        "ImageNetV2",
        10_000,
        10,
        "folders named 0 to 999, in imagenetv2-matched-frequency-format-val, imagenetv2-threshold0.7-format-val or "
        "imagenetv2-top-images-format-val, or in a folder that holds all three",
        "the authors' repository modestyachts/ImageNetV2, which links three archives",
    ),
    "imagenet-a": SetFacts(
        "ImageNet-A",
        7_500,
        None,
        _WNIDS.format("n01498041/0.000116_digital clock _ digital clock_0.865662.jpg") + ", 200 of them",
        "the authors' repository hendrycks/natural-adv-examples, archive imagenet-a.tar",
    ),
    "imagenet-r": SetFacts(
        "ImageNet-R",
        30_000,
        None,
        _WNIDS.format("n01443537/art_0.jpg") + ", 200 of them",
        "the authors' repository hendrycks/imagenet-r, archive imagenet-r.tar",
    ),
    "imagenet-sketch": SetFacts(
        "ImageNet-Sketch",
        50_889,
        None,
        _WNIDS.format("n01440764/sketch_0.JPEG"),
        "the authors' repository HaohanWang/ImageNet-Sketch",
    ),
    "conflict-stimuli": SetFacts(
        "Conflict stimuli (texture and shape)",
        1_280,
        80,
        "files such as cat7-elephant3.png (shape, then texture), in 16 folders such as cat or in none",
        "the authors' repository rgeirhos/texture-vs-shape, folder stimuli/style-transfer-preprocessed-512",
    ),
    "imagenet-c": SetFacts(
        "ImageNet-C",
        50_000,
        50,
        "fog/3/n01440764/ILSVRC2012_val_00000293.JPEG: 15 corruptions, severities 1 to 5 in each, also where they lie "
        "in noise, blur, weather and digital",
        "the authors' repository hendrycks/robustness, which links the archives noise, blur, weather and digital",
        75,
    ),
    "cifar10": SetFacts(
        "CIFAR-10",
        10_000,
        1_000,
        "cifar-10-batches-py or cifar-10-batches-bin, or folders airplane to truck (in test and train, or of one split "
        "alone), or an archive of any of them",
        "the page of its author, Alex Krizhevsky, at the University of Toronto: cifar-10-python.tar.gz",
    ),
    "cifar100": SetFacts(
        "CIFAR-100",
        10_000,
        100,
        "cifar-100-python or cifar-100-binary, or an archive of either",
        "the page of its author, Alex Krizhevsky, at the University of Toronto: cifar-100-python.tar.gz",
    ),
    "cifar10-c": SetFacts(
        "CIFAR-10-C",
        10_000,
        1_000,
        "fog.npy and 14 more of shape (50000, 32, 32, 3), and labels.npy",
        "the authors' repository hendrycks/robustness, which links the archive",
        75,
    ),
    "cifar100-c": SetFacts(
        "CIFAR-100-C",
        10_000,
        100,
        "as cifar10-c",
        "the authors' repository hendrycks/robustness, which links the archive",
        75,
    ),
    "folder": SetFacts(
        "images of your own",
        None,
        None,
        "a folder for each class with images in it: cat/1.png; or a tar archive of such folders",
        "you",
    ),
    "folder-c": SetFacts(
        "a C version of images of your own",
        None,
        None,
        "fog/3/cat/1.png: as `seasoning corrupt` writes it",
        "`seasoning corrupt`",
        75,
    ),
}


def wanted(kind: str | None) -> str:
    """Layout and origin of a data set in words; of none, the names of all."""
    if kind is None:
        return f"expected {FACTS['folder'].layout}; or one of {', '.join(FACTS)}, see `seasoning data list`"
    return f"expected for {kind}: {FACTS[kind].layout}. To be had from: {FACTS[kind].origin}"
