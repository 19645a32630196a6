"""How fast data is read and corrupted: `python -m benchmarks.data --data FOLDER`, FOLDER with a folder for each class.

Reading is timed against torchvision's ImageFolder in a DataLoader on the same transform, in rounds that take turns,
after one that does not count; quoted are the medians of the ratios. Times are processor time, that of the workers
included, so that neighbours on the machine hardly matter.
"""

import argparse
import platform
import resource
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from seasoning.data.corruptions.apply import CORRUPTIONS, LEVELS, corrupt
from seasoning.data.decoding import Photo, View
from seasoning.data.files import read_tree
from seasoning.data.folder import tree_listing
from seasoning.data.reading import read_samples


_BATCH = 32
_BICUBIC = transforms.InterpolationMode.BICUBIC


def processor_seconds() -> float:
    """Processor time of this process and of its finished children."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in spent)


def torchvision_seconds(root: Path, view: Photo | None, workers: int) -> float:
    """Every batch of a DataLoader, as 8-bit tensors, seen once."""
    steps = [transforms.PILToTensor()]
    if view is not None:
        side = int(view.size[0] / view.crop_pct)
        steps = [transforms.Resize(side, _BICUBIC), transforms.CenterCrop(view.size), *steps]
    begun = processor_seconds()
    images = ImageFolder(str(root), transforms.Compose(steps))
    for _ in DataLoader(images, batch_size=_BATCH, num_workers=workers):
        pass
    return processor_seconds() - begun


def our_seconds(root: Path, view: View | None, workers: int, cache: Path | None) -> float:
    """From the folder to samples, in memory or in a mapped file."""
    begun = processor_seconds()
    read_samples(tree_listing(read_tree(root)), view=view, workers=workers, cache=cache)
    return processor_seconds() - begun


def photographs(folder: Path, count: int) -> Path:
    """JPEG photographs in size, not in content: smooth noise of 500 x 375 pixels, as large as those of ImageNet."""
    root = folder / "photographs"
    generator = torch.Generator().manual_seed(0)
    to_image = transforms.ToPILImage()
    for number in range(count):
        path = root / f"class{number % 10}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = torch.rand(1, 3, 47, 63, generator=generator)
        fine = torch.nn.functional.interpolate(coarse, size=(375, 500), mode="bicubic").clamp(0, 1)
        to_image(fine[0] * 0.9 + 0.1 * torch.rand(3, 375, 500, generator=generator)).save(path, quality=90)
    return root


def compare(title: str, root: Path, view: Photo | None, workers: int, rounds: int, folder: Path) -> None:
    """Print one line for each way of reading."""
    count = len(list(root.rglob("*.jpg")))
    torchvision_seconds(root, view, workers)
    our_seconds(root, view, workers, None)
    theirs, ours, mapped = [], [], []
    for number in range(rounds):
        theirs.append(torchvision_seconds(root, view, workers))
        ours.append(our_seconds(root, view, workers, None))
        mapped.append(our_seconds(root, view, workers, folder / f"cache-{title}-{workers}-{number}"))
    again = [our_seconds(root, view, workers, folder / f"cache-{title}-{workers}-0") for _ in range(rounds)]
    speed = count / statistics.median(theirs)
    ratios = [[t / o for t, o in zip(theirs, times, strict=True)] for times in (ours, mapped, again)]
    columns = [f"{statistics.median(each):.2f}" for each in ratios]
    print(f"| {title} | {workers} | {speed:.0f} | {' | '.join(columns)} |")


def corruption_speeds(x: torch.Tensor, title: str) -> None:
    """Print images a second of each corruption, and of all together."""
    ids, total = torch.arange(len(x)), 0.0
    print(f"\n## Corruptions, {title}, {len(x)} images, one thread\n")
    print("| corruption | images/s | mean change by severity |\n| --- | --- | --- |")
    for name in CORRUPTIONS:
        corrupt(x[:1], ids[:1], name, 1)  # tables and textures are made once
        begun = time.process_time()
        made = [corrupt(x, ids, name, severity) for severity in LEVELS]
        seconds = (time.process_time() - begun) / len(LEVELS)
        changes = [f"{float((each.float() - x.float()).abs().mean()):.1f}" for each in made]
        total += seconds
        print(f"| {name} | {len(x) / seconds:.0f} | {' '.join(changes)} |")
    print(f"| all together | {len(CORRUPTIONS) * len(x) / total:.0f} | |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photographs", type=int, default=1000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, torch {torch.__version__}, {arguments.rounds} rounds\n")
    print("## Reading\n\nThroughput in units of torchvision's; above 1 is faster.\n")
    print("| images | workers | torchvision, images per processor second | in memory | into a file | from the file |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = photographs(folder, arguments.photographs)
        for workers in (0, 2):
            compare("32 x 32", arguments.data, None, workers, arguments.rounds, folder)
            view = Photo((224, 224), 0.875, "bicubic")
            compare("500 x 375 to 224", photos, view, workers, arguments.rounds, folder)
        small = read_samples(tree_listing(read_tree(arguments.data))).x
        corruption_speeds(small[:: max(len(small) // 500, 1)][:500], "32 x 32")
        corruption_speeds(read_samples(tree_listing(read_tree(photos)), view=view).x[:16], "224 x 224")


if __name__ == "__main__":
    main()
