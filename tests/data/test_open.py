"""From what is named on the command line to numbers: views, options, and a table like the paper's."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from seasoning.commands.data import view_of
from seasoning.commands.evaluate import SetResult, accuracy_table, evaluate_sets, mean_corruption
from seasoning.data.corruptions.write import write_corrupted
from seasoning.data.decoding import Photo, Whole
from seasoning.data.imagenet import wnids
from seasoning.data.open import ReadOptions, open_data
from seasoning.errors import BadInput, UnknownName
from seasoning.models import build_model
from tests.data.test_cifar import TEN, python10
from tests.data.trees import ORACLE, VAL, save_coded
from tests.make import evaluate_spec


PARTIAL = ReadOptions(partial=True)


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """Four images of ImageNet, one without a reassessed label, and sets made like it; the colours say the answers."""
    # ImageNet: 0, 1, 281 right, 999 taken for 3.
    for wnid, number, answer in (("n01440764", 1, 0), ("n01443537", 2, 1), ("n02123045", 3, 281), ("n15075141", 4, 3)):
        save_coded(tmp_path / "val" / wnid / VAL.format(number), answer)
    # ReaL: the second has no label; the fourth may also be 3.
    (tmp_path / "val" / "real.json").write_text(json.dumps([[0], [], [5, 6], [999, 3]]))
    # A: 6 is a ray: right, and 5 nearest to it: right under the mask alone.
    save_coded(tmp_path / "a" / "n01498041" / "0.1_x _ x_0.9.jpg", 6)
    save_coded(tmp_path / "a" / "n01498041" / "0.2_x _ x_0.9.jpg", 5)
    # C: of the same photographs, 0 and 1; at severity 2 the second is taken for 0.
    for severity, second in ((1, 1), (2, 0)):
        save_coded(tmp_path / "c" / "fog" / str(severity) / "n01440764" / VAL.format(1), 0)
        save_coded(tmp_path / "c" / "fog" / str(severity) / "n01443537" / VAL.format(2), second)
    return tmp_path


def measured(sets: Path, data: list[str], reading: dict[str, object] | None = None, **more: object) -> list[SetResult]:
    (sets / "oracle.py").write_text(ORACLE)
    torch.save({"shift": torch.zeros(1)}, sets / "oracle.pt")
    read = {"partial": True} if reading is None else reading
    spec = evaluate_spec(architecture=f"{sets / 'oracle.py'}:oracle", data=data, reading=read, **more)  # type: ignore[arg-type]
    return evaluate_sets(sets / "oracle.pt", spec, sets / "out", watch=lambda doing, done, total: None)


def test_a_row_of_the_paper_s_table(sets: Path) -> None:
    data = [str(sets / "val"), f"imagenet-real={sets / 'val'}", str(sets / "a"), str(sets / "c")]
    results = measured(sets, data)
    table = accuracy_table({"oracle": results})
    assert table.columns == ["imagenet", "imagenet-real", "imagenet-a", "imagenet-c", "MEAN"]
    (row,) = table.rows
    # 3 of 4; 2 of the 3 with a label; both under the mask; (2/2 + 1/2) / 2; and the plain mean of the four.
    expected = [0.75, 2 / 3, 1.0, 0.75, (0.75 + 2 / 3 + 1.0 + 0.75) / 4]
    assert [cell.value for cell in row.cells if cell is not None] == pytest.approx(expected)
    unmasked = {each.name: each.lines["unmasked"].estimate.value for each in results if "unmasked" in each.lines}
    assert unmasked == {"imagenet-a": 0.5}
    assert any("1 of 4 images have no label" in note for each in results for note in each.notes)
    assert mean_corruption(results) is None


def test_a_folder_that_is_only_named_so_has_no_mce(sets: Path) -> None:
    save_coded(sets / "imagenet-c" / "tench" / "1.png", 0)
    names = ("tench", *wnids()[1:])
    (result,) = measured(sets, [str(sets / "imagenet-c")], {"classes": names})
    assert (result.column, result.kind) == ("imagenet-c", "folder")
    assert mean_corruption([result]) is None


def test_mce_wants_all_75() -> None:
    from seasoning.commands.evaluate import Line
    from seasoning.data.corrupted_sets import ALEXNET_ERRORS
    from seasoning.statistics import Estimate

    def result(corruption: str, severity: int, kind: str = "imagenet-c") -> SetResult:
        # Half of AlexNet's error at every severity.
        value = 1 - ALEXNET_ERRORS[corruption] / 2
        lines = {"clean": Line(Estimate(value, 0, 1, 10), None)}
        return SetResult(f"imagenet-c/{corruption}/{severity}", "imagenet-c", lines, {}, (224, 224), [], kind)

    results = [result(corruption, severity) for corruption in ALEXNET_ERRORS for severity in range(1, 6)]
    assert mean_corruption(results) == pytest.approx(0.5)
    assert mean_corruption(results[1:]) is None
    # One's own C version in a folder of that name: its frost is another.
    own = [result(corruption, severity, "folder-c") for corruption in ALEXNET_ERRORS for severity in range(1, 6)]
    assert mean_corruption(own) is None


def test_sets_that_are_not_complete_are_refused_unless_asked_for(sets: Path) -> None:
    with pytest.raises(BadInput, match=r"imagenet is not complete: 4 of 50,000 images; by class: .*--partial"):
        measured(sets, [str(sets / "val")], {})
    assert not (sets / "out").exists()


def test_damage_is_counted_in_the_report(sets: Path) -> None:
    (sets / "a" / "n01498041" / "0.1_x _ x_0.9.jpg").write_text("no image")
    with pytest.raises(BadInput, match="1 of its 2 images cannot be read"):
        measured(sets, [str(sets / "a")])
    (result,) = measured(sets, [str(sets / "a")], {"partial": True, "skip_damaged": True})
    assert result.lines["clean"].estimate.n == 1
    assert any("1 images could not be read and are left out, such as n01498041/0.1" in note for note in result.notes)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (["{}/a", "{}/a"], "imagenet-a is given twice"),
        (["{}/a", "digits"], "one of 10 and 1: measure them apart"),
        (["imagenet-c={}/a"], "holds no ImageNet-C"),
        (["imagenet-q={}/a"], "unknown data set"),
    ],
)
def test_data_that_does_not_go_together(sets: Path, data: list[str], words: str) -> None:
    with pytest.raises((BadInput, UnknownName), match=words):
        measured(sets, [each.format(sets) for each in data])


def test_attacks_on_several_right_labels_are_refused_before_any_work(sets: Path) -> None:
    data = [str(sets / "val"), f"imagenet-real={sets / 'val'}"]
    with pytest.raises(BadInput, match="imagenet-real has several right classes for an image"):
        measured(sets, data, threats=["linf:0.1"])
    assert not (sets / "out").exists()


def checkerboard(path: Path, side: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (np.indices((side, side)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(np.stack([pixels] * 3, axis=-1)).save(path, "PNG")


def test_c_is_not_resized_a_second_time_and_photographs_are(tmp_path: Path) -> None:
    checkerboard(tmp_path / "c" / "fog" / "1" / "n01440764" / VAL.format(1), 224)
    checkerboard(tmp_path / "val" / "n01440764" / VAL.format(1), 300)
    checkerboard(tmp_path / "stimuli" / "cat1-dog1.png", 224)
    model = build_model("resnet18", num_classes=1000)
    data = [str(tmp_path / each) for each in ("c", "val", "stimuli")]
    c, val, stimuli = open_data(data, PARTIAL)
    config: Any = model.network.pretrained_cfg
    assert val.view(view_of(model)) == Photo(
        (224, 224), config["crop_pct"], config["interpolation"], "center", config["mean"]
    )
    for each in (c, stimuli):
        assert each.view(view_of(model)) is None
        pixels = each.read(view_of(model)).x[0, 0]
        # Every second pixel is black, its neighbour white: any resize would leave grey.
        assert pixels.unique().tolist() == [0, 255]
        assert pixels.shape == (224, 224)
    assert val.read(view_of(model)).x.shape == (1, 3, 224, 224)
    assert len(val.read(view_of(model)).x.unique()) > 2


def test_a_model_of_one_other_size_sees_the_whole_of_c(tmp_path: Path) -> None:
    checkerboard(tmp_path / "c" / "fog" / "1" / "n01440764" / VAL.format(1), 224)
    (c,) = open_data([str(tmp_path / "c")], PARTIAL)
    model = build_model("vit_tiny_patch16_384", num_classes=1000)
    assert c.view(view_of(model)) == Whole((384, 384))


@pytest.mark.parametrize(
    ("sizes", "transform", "viewed"),
    [
        ([40, 40], "auto", False),
        ([40, 44], "auto", True),
        ([40, 40], "model", True),
        ([40, 44], "as-is", False),
    ],
)
def test_folders_of_one_size_are_left_as_they_are(
    tmp_path: Path, sizes: list[int], transform: str, viewed: bool
) -> None:
    for number, side in enumerate(sizes):
        checkerboard(tmp_path / "pets" / "cat" / f"{number}.png", side)
    (pets,) = open_data([str(tmp_path / "pets")], ReadOptions(transform=transform))
    assert (pets.view(view_of(build_model("resnet18", num_classes=1))) is not None) == viewed


@pytest.mark.parametrize(("sizes", "viewed"), [([40, 40], False), ([40, 44], True)])
def test_a_c_version_of_several_sizes_is_viewed(tmp_path: Path, sizes: list[int], viewed: bool) -> None:
    for number, side in enumerate(sizes):
        checkerboard(tmp_path / "pets-c" / "fog" / "1" / "cat" / f"{number}.png", side)
    (pets,) = open_data([str(tmp_path / "pets-c")], PARTIAL)
    model = build_model("resnet18", num_classes=1)
    assert (pets.view(view_of(model)) is not None) == viewed
    assert pets.read(view_of(model)).x.shape[2:] == ((224, 224) if viewed else (40, 40))


def test_a_c_version_of_one_s_own_that_lacks_images_is_refused(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        checkerboard(tmp_path / "pets" / name / "1.png", 16)
    (pets,) = open_data([str(tmp_path / "pets")], PARTIAL)
    assert pets.listing is not None
    write_corrupted(pets.listing, "folder", tmp_path / "c")
    whole, *_ = open_data([str(tmp_path / "c")], ReadOptions())
    assert whole.listing is not None
    assert whole.notes == []
    shutil.rmtree(tmp_path / "c" / "gaussian_noise" / "1" / "cat")
    lacking, *_ = open_data([str(tmp_path / "c")], ReadOptions())
    with pytest.raises(
        BadInput, match=r"c/gaussian_noise/1 is not complete: 1 of 2 images; by class: cat 0; .*--partial"
    ):
        _ = lacking.listing
    lacking, *_ = open_data([str(tmp_path / "c")], PARTIAL)
    assert lacking.notes == ["not complete: 1 of 2 images; by class: cat 0"]


def test_a_c_set_that_lacks_subsets_is_refused_unless_asked_for(sets: Path) -> None:
    said = "missing: gaussian_noise/1, .*gaussian_noise/5, shot_noise/1, .* and 63 more"
    with pytest.raises(BadInput, match=f"c is not complete: {said}; .*--partial"):
        measured(sets, [str(sets / "c")], {})
    assert not (sets / "out").exists()
    first, second = measured(sets, [str(sets / "c")])
    # Said once, not by each subset.
    assert [sum("missing" in note for note in each.notes) for each in (first, second)] == [1, 0]


def test_a_c_version_of_one_s_own_says_what_of_the_75_it_lacks(tmp_path: Path) -> None:
    checkerboard(tmp_path / "pets-c" / "fog" / "1" / "cat" / "1.png", 16)
    (pets,) = open_data([str(tmp_path / "pets-c")], ReadOptions())
    (note,) = pets.notes
    assert note.startswith("not complete: missing: gaussian_noise/1, ")
    assert note.endswith(" and 64 more")


def test_unknown_transforms_are_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'model'"):
        open_data(["digits"], ReadOptions(transform="modle"))


@pytest.mark.parametrize(("split", "count"), [(None, 3), ("test", 3), ("train", 10)])
def test_splits_of_cifar(tmp_path: Path, split: str | None, count: int) -> None:
    python10(tmp_path / "py")
    (opened,) = open_data([str(tmp_path / "py")], ReadOptions(split=split, partial=True))
    assert opened.listing is not None
    assert len(opened.listing) == count


@pytest.mark.parametrize("split", ["validation", "train"])
def test_splits_that_data_does_not_have(tmp_path: Path, split: str) -> None:
    python10(tmp_path / "py")
    for name in TEN:
        save_coded(tmp_path / "images" / name / "1.png", 5, side=32)
    if split == "validation":
        with pytest.raises(BadInput, match="CIFAR has train and test"):
            open_data([str(tmp_path / "py")], ReadOptions(split=split))
    else:
        (opened,) = open_data([f"cifar10={tmp_path / 'images'}"], ReadOptions(split=split, partial=True))
        with pytest.raises(BadInput, match="it is not parted"):
            _ = opened.listing


def test_folders_are_named_by_the_model_s_classes(sets: Path) -> None:
    # A model of 1,000 classes, and a folder of two of them.
    save_coded(sets / "pets" / "tench" / "1.png", 0)
    save_coded(sets / "pets" / "tabby" / "1.png", 281)
    names = [*wnids()]
    names[0], names[281] = "tench", "tabby"
    (result,) = measured(sets, [str(sets / "pets")], {"classes": names})
    assert result.lines["clean"].estimate.value == 1
    with pytest.raises(BadInput, match="2 folders are none of the model's 1000 classes: tabby, tench"):
        measured(sets, [str(sets / "pets")], {"classes": wnids()})


@pytest.mark.parametrize("name", ["cat/0.png", "dog/9.png"])
def test_an_image_that_cannot_be_read_does_not_change_the_view_of_the_others(tmp_path: Path, name: str) -> None:
    for each in ("cat", "dog"):
        save_coded(tmp_path / each / "1.png", 3, side=8)
    (tmp_path / name).write_bytes(b"")
    (opened,) = open_data([str(tmp_path)], ReadOptions(skip_damaged=True))
    photo = Photo((16, 16), 0.9, "bilinear")
    assert opened.view(photo) is None
    assert opened.read(photo).x.shape == (2, 3, 8, 8)
    assert opened.view(Photo((16, 16), 0.9, "bilinear", fixed=True)) == Whole((16, 16))
    save_coded(tmp_path / "dog" / "2.png", 3, side=9)
    (opened,) = open_data([str(tmp_path)], ReadOptions(skip_damaged=True))
    assert opened.view(photo) == photo
