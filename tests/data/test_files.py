"""The files of a tree: each real file once, whatever leads to it, and nothing left out without a word."""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seasoning.data import load_source
from seasoning.data.check import check_data
from seasoning.data.files import read_tree
from seasoning.data.reading import read_samples
from seasoning.data.recognise import find_set
from seasoning.errors import BadInput
from tests.data.trees import save_coded


def pets(root: Path, each: int = 3) -> Path:
    for name in ("cat", "dog"):
        for number in range(each):
            save_coded(root / name / f"{number}.png", number)
    return root


def names(root: Path) -> list[str]:
    return [file.name for file in read_tree(root).images()]


def notes(root: Path) -> str:
    return "; ".join(find_set(root).parts[0].open().notes)


@pytest.mark.parametrize("target", [".", "..", "cat", "dog"])
@pytest.mark.parametrize("place", ["cat/back", "back", "cat/deep/er/back"])
def test_a_link_to_what_is_read_already_adds_nothing(tmp_path: Path, place: str, target: str) -> None:
    root = pets(tmp_path / "here" / "pets", 15)
    save_coded(tmp_path / "here" / "other" / "1.png", 5)
    before = names(root)
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).symlink_to(Path(os.path.relpath((root / target).resolve(), (root / place).parent)))
    assert names(root) == before
    assert len(before) == 30
    assert notes(root) == f"passed over: 1 link to what is read already, such as {place}"


def test_links_that_lead_elsewhere_are_followed(tmp_path: Path) -> None:
    root = pets(tmp_path / "pets")
    pool = tmp_path / "pool"
    save_coded(pool / "eels" / "1.png", 5)
    save_coded(pool / "eels" / "deep" / "2.png", 5)
    (pool / "eels" / "deep" / "up").symlink_to(pool, target_is_directory=True)
    save_coded(pool / "3.png", 5)
    save_coded(root / ".store" / "4.png", 5)
    (root / "eel").symlink_to(pool / "eels", target_is_directory=True)
    (root / "cat" / "three.png").symlink_to(pool / "3.png")
    (root / "cat" / "four.png").symlink_to(root / ".store" / "4.png")
    here = read_tree(root)
    assert here.folders == ("cat", "dog", "eel")
    added = {"eel/1.png", "eel/deep/2.png", "cat/three.png", "cat/four.png"}
    assert {file.name for file in here.files} == set(names(pets(tmp_path / "plain"))) | added


@pytest.mark.parametrize("seed", range(20))
def test_every_file_that_can_be_reached_is_there_once(tmp_path: Path, seed: int) -> None:
    """Against a slow walk that keeps the real paths it has met."""
    draw = np.random.default_rng(seed)
    root, outside = tmp_path / "root", tmp_path / "outside"
    folders = [root, outside]
    root.mkdir()
    outside.mkdir()
    for number in range(12):
        folders.append(folders[draw.integers(len(folders))] / f"d{number}")
        folders[-1].mkdir(parents=True, exist_ok=True)
    files = [folders[draw.integers(len(folders))] / f"{number}.png" for number in range(20)]
    for file in files:
        file.write_bytes(b"")
    for number in range(12):
        targets = folders if draw.random() < 0.6 else files
        link = folders[draw.integers(len(folders))] / f"l{number}{'' if targets is folders else '.png'}"
        link.symlink_to(targets[draw.integers(len(targets))])
    for number in range(3):
        os.link(files[draw.integers(len(files))], folders[draw.integers(len(folders))] / f"h{number}.png")
    reached: set[tuple[int, int]] = set()
    met: set[str] = set()
    todo = [str(root)]
    while todo:
        folder = os.path.realpath(todo.pop())
        if folder not in met:
            met.add(folder)
            for entry in os.scandir(folder):
                if entry.is_dir():
                    # A link to a folder that holds the link leads back, not elsewhere.
                    if not entry.is_symlink() or not Path(folder).is_relative_to(os.path.realpath(entry.path)):
                        todo.append(entry.path)
                else:
                    reached.add((entry.stat().st_dev, entry.stat().st_ino))
    found = [os.stat(file.path) for file in read_tree(root).files]
    assert len(found) == len(reached)
    assert {(each.st_dev, each.st_ino) for each in found} == reached
    assert names(root) == names(root)


@pytest.mark.parametrize("hard", [True, False])
def test_two_names_of_one_file_are_one_image(tmp_path: Path, hard: bool) -> None:
    root = pets(tmp_path / "pets")
    save_coded(tmp_path / "pool" / "1.png", 9)
    for name in ("a.png", "b.png"):
        if hard:
            os.link(tmp_path / "pool" / "1.png", root / "cat" / name)
        else:
            (root / "cat" / name).symlink_to(tmp_path / "pool" / "1.png")
    assert len(load_source(str(root))) == 7
    assert "1 further name of a file that is read already, such as cat/b.png" in notes(root)
    # Under two classes it has two labels, and nothing says which is right.
    if hard:
        os.link(tmp_path / "pool" / "1.png", root / "dog" / "c.png")
    else:
        (root / "dog" / "c.png").symlink_to(tmp_path / "pool" / "1.png")
    with pytest.raises(
        BadInput, match=r"cat/a\.png and dog/c\.png are the same on the disk, in two folders of classes"
    ):
        load_source(str(root))


def test_two_links_to_one_folder_are_no_two_classes(tmp_path: Path) -> None:
    root = pets(tmp_path / "pets")
    save_coded(tmp_path / "pool" / "1.png", 9)
    for name in ("eel", "fish"):
        (root / name).symlink_to(tmp_path / "pool", target_is_directory=True)
    with pytest.raises(BadInput, match="eel and fish are the same on the disk"):
        load_source(str(root))


HIDDEN = (
    "@eaDir",
    "lost+found",
    ".AppleDouble",
    "__MACOSX",
    ".ipynb_checkpoints",
    "@__thumb",
    "#recycle",
    "$RECYCLE.BIN",
)


@pytest.mark.parametrize("folder", HIDDEN)
@pytest.mark.parametrize("packed", [False, True])
def test_thumbnails_of_systems_and_devices_do_not_count(tmp_path: Path, folder: str, packed: bool) -> None:
    root = pets(tmp_path / "pets")
    save_coded(root / "cat" / folder / "1.png" / "thumb.png", 5)
    save_coded(root / folder / "2.jpg", 5)
    save_coded(root / "dog" / "._0.png", 5)
    (root / "dog" / "Thumbs.db").write_bytes(b"1")
    if packed:
        with tarfile.open(tmp_path / "pets.tar", "w") as archive:
            archive.add(root, arcname="pets")
        root = tmp_path / "pets.tar"
    assert len(load_source(str(root))) == 6
    assert read_tree(root).folders == ("cat", "dog")
    assert "passed over: 3 images that are hidden or in system folders, such as " in notes(root)


def test_a_class_of_the_character_is_no_system_folder(tmp_path: Path) -> None:
    save_coded(tmp_path / "@" / "1.png", 5)
    save_coded(tmp_path / "#" / "1.png", 5)
    assert read_tree(tmp_path).folders == ("#", "@")


FORMATS = {
    "JPEG": ("jpg", "JPEG", "jpe", "jfif", "Jfif"),
    "GIF": ("gif", "GIF"),
    "JPEG2000": ("jp2", "j2k", "JP2"),
    "AVIF": ("avif",),
    "WEBP": ("webp",),
    "TGA": ("tga",),
    "PPM": ("pnm", "pbm"),
}


@pytest.mark.parametrize(("form", "suffix"), [(form, each) for form, suffixes in FORMATS.items() for each in suffixes])
def test_what_pillow_reads_is_read(tmp_path: Path, form: str, suffix: str) -> None:
    Image.init()
    if form not in Image.SAVE:
        pytest.skip(f"this Pillow has no {form}")
    root = pets(tmp_path / "pets")
    Image.fromarray(np.full((4, 4, 3), (200, 40, 90), dtype=np.uint8)).save(root / "cat" / f"new.{suffix}", form)
    samples = load_source(str(root))
    assert len(samples) == 7
    red, green, blue = samples.x[3, :, 1, 1].tolist()
    assert max(abs(red - 200), abs(green - 40), abs(blue - 90)) < 20


def test_what_cannot_be_read_here_is_counted_and_named(tmp_path: Path) -> None:
    root = pets(tmp_path / "pets")
    for number in range(12):
        (root / "cat" / f"{number}.JXL").write_bytes(b"1")
    (root / "dog" / "film.mp4").write_bytes(b"1")
    (root / "dog" / "0001").write_bytes(b"1")
    (root / "dog" / "notes.txt").write_text("lovely")
    save_coded(root / "cover.png", 5)
    said = "12 files of .jxl, 1 of .mp4, 1 without a suffix; 1 image without a class, such as cover.png"
    assert notes(root) == f"passed over: {said}"
    checked = check_data(root)
    assert f"passed over: {said}" in checked.found
    assert checked.problems[0] == (
        "pets: pictures of .jxl lie beside these images and cannot be read here: convert them"
    )
    # Labels and descriptions are no pictures: nothing is lost with them.
    plain = pets(tmp_path / "plain")
    (plain / "labels.csv").write_text("1,2")
    assert notes(plain) == ""


@pytest.mark.parametrize("cached", [False, True])
def test_an_image_that_is_not_there_is_no_silence(tmp_path: Path, cached: bool) -> None:
    root = pets(tmp_path / "pets")
    (root / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (root / "cat" / "loop").symlink_to(root / "cat" / "loop")
    listing = find_set(root).parts[0].open()
    with pytest.raises(BadInput, match=r"1 of its 7 images cannot be read:\n  cat/gone\.png"):
        read_samples(listing, cache=tmp_path / "cache" if cached else None)
    assert "1 link that leads nowhere, such as cat/loop" in notes(root)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files here")
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    root = pets(tmp_path / "pets")
    os.mkfifo(root / "cat" / "pipe.png")
    assert len(load_source(str(root))) == 6
    assert "1 thing that is neither file nor folder, such as cat/pipe.png" in notes(root)


def test_an_archive_holds_each_file_once(tmp_path: Path) -> None:
    root = pets(tmp_path / "pets")
    with tarfile.open(tmp_path / "pets.tar", "w") as archive:
        archive.add(root, arcname="pets")
        for kind, name, target in (
            (tarfile.LNKTYPE, "pets/cat/hard.png", "pets/cat/0.png"),
            (tarfile.SYMTYPE, "pets/cat/soft.png", "../dog/0.png"),
            (tarfile.SYMTYPE, "pets/cat/lost.png", "../eel/0.png"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
        # The same name once more: the later one is what unpacking leaves.
        content = (root / "dog" / "2.png").read_bytes()
        again = tarfile.TarInfo("pets/cat/0.png")
        again.size = len(content)
        archive.addfile(again, io.BytesIO(content))
    samples = load_source(str(tmp_path / "pets.tar"))
    assert len(samples) == 6
    assert samples.x[0, 1, 0, 0].item() == 2
    said = notes(tmp_path / "pets.tar")
    assert "1 link to what is read already, such as cat/soft.png" in said
    assert "1 link that leads nowhere, such as cat/lost.png" in said
    assert "1 further name of a file that is read already, such as cat/hard.png" in said
