"""ImageNet, its reassessed labels and its variants, on tiny trees of the real layouts; labels are typed by hand."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from seasoning.data.imagenet import class_words, wnids
from seasoning.data.imagenet_variants import COARSE
from seasoning.data.listing import Listing
from seasoning.data.reading import read_samples
from seasoning.data.recognise import Recognised, find_set, shortfall
from seasoning.errors import BadInput, UnknownName
from tests.data.trees import coded, save_coded


VAL = "ILSVRC2012_val_{:08d}.JPEG"


def only(found: Recognised) -> Listing:
    assert len(found.parts) == 1
    return found.parts[0].open()


def by_name(listing: Listing) -> dict[str, int]:
    names = [file.name.rsplit("/", 1)[-1] for file in listing.files]
    return dict(zip(names, listing.y.tolist(), strict=True))


@pytest.fixture
def validation(tmp_path: Path) -> Path:
    root = tmp_path / "ILSVRC" / "val"
    for wnid, number in (("n01440764", 293), ("n02123045", 7), ("n15075141", 2), ("n01443537", 262)):
        save_coded(root / wnid / VAL.format(number), 5)
    return root


def test_classes_come_in_the_order_of_the_logits() -> None:
    assert len(wnids()) == 1000
    assert [wnids()[each] for each in (0, 1, 281, 999)] == ["n01440764", "n01443537", "n02123045", "n15075141"]
    assert class_words()["n02123045"] == "tabby"


def test_validation_folders(validation: Path) -> None:
    found = find_set(validation)
    assert found.kind == "imagenet"
    listing = only(found)
    names = {VAL.format(293): 0, VAL.format(262): 1, VAL.format(7): 281, VAL.format(2): 999}
    assert by_name(listing) == names
    assert listing.outputs == 1000
    assert not listing.as_is
    assert find_set(validation.parent).root == validation


def flat(folder: Path, names: list[str]) -> None:
    for name in names:
        save_coded(folder / name, 5)


def official_tar(folder: Path, numbers: list[int]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "ILSVRC2012_img_val.tar"
    with tarfile.open(path, "w") as archive:
        for number in numbers:
            content = io.BytesIO()
            coded(number).save(content, "PNG")
            member = tarfile.TarInfo(VAL.format(number))
            member.size = len(content.getvalue())
            archive.addfile(member, io.BytesIO(content.getvalue()))
    return path


def kit(folder: Path) -> None:
    """A development kit of three classes, numbered otherwise than the logits."""
    wnid = ["n15075141", "n01440764", "n02123045"]
    synsets = np.zeros(3, dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")])
    for file, each in enumerate(wnid):
        synsets[file] = (file + 1, each, "word", 0)
    meta = io.BytesIO()
    savemat(meta, {"synsets": synsets})  # type: ignore[arg-type]
    files = {"meta.mat": meta.getvalue(), "ILSVRC2012_validation_ground_truth.txt": b"3\n1\n2\n"}
    with tarfile.open(folder / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"ILSVRC2012_devkit_t12/data/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("labels", ["val.txt", "kit", "wnids", "kaggle"])
@pytest.mark.parametrize("form", ["tar", "folder", "folder of the tar"])
def test_the_official_archive_with_its_labels(tmp_path: Path, labels: str, form: str) -> None:
    root = tmp_path / "official"
    path = official_tar(root, [1, 2, 3])
    if form == "folder":
        path.unlink()
        flat(root, [VAL.format(number) for number in (1, 2, 3)])
    if labels == "val.txt":
        lines = [f"{VAL.format(2)} 999", f"{VAL.format(1)} 281", f"{VAL.format(3)} 0"]
        (root / "val.txt").write_text("\n".join(lines))
    elif labels == "kaggle":
        rows = {2: "n15075141 0 14 499 338 n15075141 1 2 3 4", 1: "n02123045 1 1 4 4", 3: "n01440764 285 160 322 216 "}
        lines = [f"ILSVRC2012_val_{number:08d},{row}" for number, row in rows.items()]
        (root / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *lines]))
    elif labels == "wnids":
        (root / "synset_labels.txt").write_text("n02123045\nn15075141\nn01440764\n")
    else:
        kit(root)
    found = find_set(path if form == "tar" else root)
    assert found.kind == "imagenet"
    listing = only(found)
    assert by_name(listing) == {VAL.format(1): 281, VAL.format(2): 999, VAL.format(3): 0}
    if form != "folder":
        # Each of its images is the one at its file in the archive.
        assert read_samples(listing).x[:, 1, 0, 0].tolist() == [1, 2, 3]


def test_an_archive_whose_lone_folder_holds_the_validation_images(tmp_path: Path) -> None:
    flat(tmp_path / "val", [VAL.format(number) for number in (1, 2)])
    (tmp_path / "val.txt").write_text(f"{VAL.format(1)} 281\n{VAL.format(2)} 0\n")
    # A lone folder that is a class stays one.
    flat(tmp_path / "n01440764", [VAL.format(293)])
    for name, kind, answers in (
        ("val", "imagenet", {VAL.format(1): 281, VAL.format(2): 0}),
        ("n01440764", "imagenet", {VAL.format(293): 0}),
    ):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as archive:
            archive.add(tmp_path / name, arcname=name)
        found = find_set(tmp_path / f"{name}.tar")
        assert found.kind == kind
        assert by_name(only(found)) == answers


@pytest.mark.parametrize("file", ["ours-c/fog/3/cat/1.png", "imagenet-c/weather/fog/3/n01440764/1.png", "c/fog.npy"])
def test_an_archive_of_a_c_version_is_to_be_unpacked(tmp_path: Path, file: str) -> None:
    for each in (file, file.replace("fog", "snow")):
        save_coded(tmp_path / each, 5)
    top = file.split("/")[0]
    with tarfile.open(tmp_path / "packed.tar", "w") as archive:
        archive.add(tmp_path / top, arcname=top)
    with pytest.raises(BadInput, match=r"packed\.tar holds a C version, such as .*fog.*: unpack it"):
        find_set(tmp_path / "packed.tar")


def test_a_photograph_has_one_id_in_the_archive_and_in_folders(validation: Path, tmp_path: Path) -> None:
    path = official_tar(tmp_path / "official", [293, 7])
    (path.parent / "val.txt").write_text(f"{VAL.format(293)} 0\n{VAL.format(7)} 281\n")
    packed, foldered = only(find_set(path)), only(find_set(validation))
    ids = dict(zip(by_name(foldered), foldered.ids.tolist(), strict=True))
    assert dict(zip(by_name(packed), packed.ids.tolist(), strict=True)) == {
        VAL.format(number): ids[VAL.format(number)] for number in (7, 293)
    }


def test_official_images_without_labels_say_what_is_expected(tmp_path: Path) -> None:
    path = official_tar(tmp_path / "official", [1])
    with pytest.raises(BadInput, match=r"no list of labels beside them: expected one of val\.txt.*devkit_t12\.tar\.gz"):
        only(find_set(path))
    (path.parent / "val.txt").write_text(f"{VAL.format(1)} 1000\n")
    with pytest.raises(BadInput, match=r"class numbers range over \[1000, 1000\]: expected 0 to 999"):
        only(find_set(path))


def test_real_leaves_out_images_without_labels_and_keeps_all_right_ones(tmp_path: Path) -> None:
    root = tmp_path / "val"
    for wnid, number in (("n01440764", 1), ("n01443537", 2), ("n02123045", 3)):
        save_coded(root / wnid / VAL.format(number), 5)
    (root / "real.json").write_text(json.dumps([[4, 7], [], [281]]))
    listing = only(find_set(root, "imagenet-real"))
    assert by_name(listing) == {VAL.format(1): 4, VAL.format(3): 281}
    assert listing.valid is not None
    assert listing.valid.tolist() == [[4, 7], [281, -1]]
    assert listing.notes == ("1 of 3 images have no label and are left out",)


def test_the_labels_that_timm_ships(tmp_path: Path) -> None:
    root = tmp_path / "val"
    for number in (1, 2, 3):
        save_coded(root / "n01440764" / VAL.format(number), 5)
    listing = only(find_set(root, "imagenet-real"))
    # The published list begins with no label for the first image, then 970 and 795, then 230 and 231.
    assert listing.valid is not None
    assert listing.valid.tolist() == [[970, 795], [230, 231]]


def test_a_damaged_list_of_real_labels_is_named(tmp_path: Path) -> None:
    save_coded(tmp_path / "n01440764" / VAL.format(1), 5)
    (tmp_path / "real.json").write_text("[[1], ")
    with pytest.raises(BadInput, match=r"real\.json is no list of the labels of ReaL"):
        only(find_set(tmp_path, "imagenet-real"))


def v2(root: Path) -> None:
    for folder in ("0", "2", "10", "999"):
        save_coded(root / folder / f"photo{folder}.jpeg", int(folder))


def test_v2_folders_are_numbers_not_texts(tmp_path: Path) -> None:
    root = tmp_path / "imagenetv2-matched-frequency-format-val"
    v2(root)
    found = find_set(root)
    assert (found.kind, found.parts[0].name) == ("imagenet-v2", "imagenet-v2/matched-frequency")
    expected = {"photo0.jpeg": 0, "photo2.jpeg": 2, "photo10.jpeg": 10, "photo999.jpeg": 999}
    assert by_name(only(found)) == expected


def test_the_three_variants_of_v2_share_their_photographs(tmp_path: Path) -> None:
    for variant in ("matched-frequency", "threshold0.7", "top-images"):
        v2(tmp_path / f"imagenetv2-{variant}-format-val")
    found = find_set(tmp_path)
    assert [part.name for part in found.parts] == [
        "imagenet-v2/matched-frequency",
        "imagenet-v2/threshold0.7",
        "imagenet-v2/top-images",
    ]
    ids = [part.open().ids.tolist() for part in found.parts]
    assert ids[0] == ids[1] == ids[2]


def test_v2_with_other_folders_is_refused(tmp_path: Path) -> None:
    v2(tmp_path / "v2")
    save_coded(tmp_path / "v2" / "cat" / "a.jpeg", 0)
    with pytest.raises(BadInput, match="cat: expected folders named 0 to 999"):
        only(find_set(tmp_path / "v2", "imagenet-v2"))


@pytest.mark.parametrize(
    ("kind", "wnid", "file", "label", "logit", "logits"),
    [
        ("imagenet-a", "n01498041", "0.000116_digital clock _ digital clock_0.865662.jpg", 0, 6, [6, 11, 13]),
        ("imagenet-a", "n01531178", "0.01_goldfinch _ goldfinch_0.8.jpg", 1, 11, [6, 11, 13]),
        ("imagenet-r", "n01484850", "art_0.jpg", 1, 2, [1, 2, 4]),
    ],
)
def test_masked_sets(
    tmp_path: Path, kind: str, wnid: str, file: str, label: int, logit: int, logits: list[int]
) -> None:
    save_coded(tmp_path / "set" / wnid / file, 5)
    found = find_set(tmp_path / "set")
    assert found.kind == kind
    listing = only(found)
    assert listing.y.tolist() == [label]
    assert listing.label_map is not None
    assert (listing.label_map.outputs, len(listing.label_map.members)) == (1000, 200)
    assert listing.label_map.members[label] == (logit,)
    assert [group[0] for group in listing.label_map.members[:3]] == logits


def test_a_class_that_a_set_lacks_is_named(tmp_path: Path) -> None:
    save_coded(tmp_path / "a" / "n01498041" / "0.1_x _ x_0.9.jpg", 5)
    save_coded(tmp_path / "a" / "n01440764" / "0.1_x _ x_0.9.jpg", 5)
    with pytest.raises(BadInput, match="1 folders are none of the 200 classes of imagenet-a: n01440764; expected"):
        only(find_set(tmp_path / "a", "imagenet-a"))


def test_sketch(tmp_path: Path) -> None:
    save_coded(tmp_path / "sketch" / "n02123045" / "sketch_0.JPEG", 5)
    found = find_set(tmp_path / "sketch")
    assert found.kind == "imagenet-sketch"
    listing = only(found)
    assert (listing.y.tolist(), listing.outputs, listing.label_map) == ([281], 1000, None)


@pytest.mark.parametrize("foldered", [True, False])
def test_conflict_stimuli(tmp_path: Path, foldered: bool) -> None:
    for shape, file in (("cat", "cat7-elephant3.png"), ("oven", "oven1-oven2.png"), ("car", "car4-truck10.png")):
        save_coded(tmp_path / "stimuli" / (shape if foldered else "") / file, 5)
    found = find_set(tmp_path / "stimuli")
    assert found.kind == "conflict-stimuli"
    listing = only(found)
    labels = dict(zip([file.name.rsplit("/", 1)[-1] for file in listing.files], listing.y.tolist(), strict=True))
    assert labels == {"cat7-elephant3.png": 7, "oven1-oven2.png": 14, "car4-truck10.png": 6}
    assert listing.texture is not None
    assert sorted(zip(listing.y.tolist(), listing.texture.tolist(), strict=True)) == [(6, 15), (7, 11), (14, 14)]
    assert listing.as_is


def test_coarse_classes_are_the_published_ones() -> None:
    sizes = [len(COARSE[each]) for each in sorted(COARSE)]
    # airplane bear bicycle bird boat bottle car cat chair clock dog elephant keyboard knife oven truck
    assert sizes == [1, 4, 2, 49, 5, 7, 3, 6, 4, 3, 109, 2, 2, 1, 1, 8]
    assert COARSE["cat"] == (281, 282, 283, 284, 285, 286)
    assert not {192, 204, 227, 242, 251, 258, 260, 264} & set(COARSE["dog"])


def test_strange_names_among_the_stimuli_are_refused(tmp_path: Path) -> None:
    save_coded(tmp_path / "cat" / "cat7-elephant3.png", 5)
    save_coded(tmp_path / "cat" / "cat7-zebra3.png", 5)
    with pytest.raises(BadInput, match=r"cat/cat7-zebra3\.png: expected files such as cat7-elephant3\.png"):
        only(find_set(tmp_path, "conflict-stimuli"))


@pytest.mark.parametrize("group", ["", "weather"])
def test_imagenet_c_has_the_ids_of_its_photographs_and_its_own_size(
    validation: Path, tmp_path: Path, group: str
) -> None:
    root = tmp_path / "c"
    for severity in (1, 3):
        save_coded(root / group / "fog" / str(severity) / "n02123045" / VAL.format(7), 5)
    found = find_set(root)
    assert found.kind == "imagenet-c"
    assert [part.name for part in found.parts] == ["imagenet-c/fog/1", "imagenet-c/fog/3"]
    original = only(find_set(validation))
    base = dict(zip(by_name(original), original.ids.tolist(), strict=True))[VAL.format(7)]
    for part in found.parts:
        listing = part.open()
        assert (listing.y.tolist(), listing.ids.tolist(), listing.as_is) == ([281], [base], True)
    real = only(find_set(validation, "imagenet-real"))
    assert base in real.ids.tolist()


def test_ids_do_not_change_with_the_place(validation: Path, tmp_path: Path) -> None:
    before = only(find_set(validation)).ids.tolist()
    validation.rename(tmp_path / "elsewhere")
    assert only(find_set(tmp_path / "elsewhere")).ids.tolist() == before


def test_a_set_that_is_not_complete_is_told_with_its_classes(validation: Path) -> None:
    words = shortfall(only(find_set(validation)), "imagenet")
    assert words is not None
    assert words.startswith("4 of 50,000 images; by class: n01440764 1 of 50, n01443537 1 of 50, n01484850 0 of 50")
    assert words.endswith("and 990 more classes")


@pytest.mark.parametrize("kind", ["imagenet", "imagenet-a", "conflict-stimuli", "imagenet-c"])
def test_a_missing_folder_says_what_it_looks_like_and_where_to_get_it(tmp_path: Path, kind: str) -> None:
    layouts = {
        "imagenet": r"n01440764/ILSVRC2012_val_00000293\.JPEG.*image-net\.org",
        "imagenet-a": r"n01498041/.*natural-adv-examples",
        "conflict-stimuli": r"cat7-elephant3\.png.*texture-vs-shape",
        "imagenet-c": r"fog/3/n01440764.*hendrycks/robustness",
    }
    with pytest.raises(BadInput, match=f"is not there; expected for {kind}: .*{layouts[kind]}"):
        find_set(tmp_path / "nowhere", kind)


def test_a_folder_of_something_else_says_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(BadInput, match="holds no data set that is known here"):
        find_set(tmp_path)
    save_coded(tmp_path / "cat" / "1.png", 5)
    with pytest.raises(BadInput, match="holds no ImageNet-C; expected for imagenet-c: fog/3"):
        find_set(tmp_path, "imagenet-c")
    with pytest.raises(UnknownName, match="did you mean 'imagenet-a'"):
        find_set(tmp_path, "imagnet-a")


def test_class_folders_that_the_model_does_not_know_are_named(tmp_path: Path) -> None:
    for name in ("cat", "dgo"):
        save_coded(tmp_path / "pets" / name / "1.png", 5)
    listing = only(find_set(tmp_path / "pets", class_names=("dog", "dgo", "cat")))
    assert sorted(listing.y.tolist()) == [1, 2]
    with pytest.raises(BadInput, match=r"1 folders are none of the model's 2 classes: dgo; rename them"):
        only(find_set(tmp_path / "pets", class_names=("cat", "dog")))


def test_ids_are_torch_integers(validation: Path) -> None:
    assert only(find_set(validation)).ids.dtype == torch.int64
