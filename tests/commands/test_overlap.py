"""Images that made a checkpoint, in measurements, searches and recalibrations: counted, and left out if asked."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seasoning.checkpoints.images import Hashes, UsedImages, images_metadata, read_used_images, used_images
from seasoning.checkpoints.load import load_ingredient, save_state
from seasoning.checkpoints.provenance import Constants, ingredient_metadata
from seasoning.commands.evaluate import SetResult, evaluate_sets
from seasoning.commands.mix import make_soup
from seasoning.commands.overlap import overlaps
from seasoning.config.search import make_plan
from seasoning.data import Samples
from seasoning.data.pixels import pixel_hashes
from seasoning.data.sources import source_parts
from seasoning.errors import BadInput
from seasoning.models import build_model
from seasoning.soup import verify_soup
from seasoning.soup.batch_norm import recalibrate
from tests.command_line import seasoning
from tests.commands.searches import content, found, measured, tasks_of
from tests.make import evaluate_spec


PARTS = source_parts("digits")
NOTHING = np.empty(0, dtype=np.uint64)


def used(train: Samples | None = None, validation: Samples | None = None) -> UsedImages:
    """What a file lists of an ingredient that was trained and validated on these."""
    parts = {"training": train, "validation": validation}
    return used_images({kind: NOTHING if part is None else pixel_hashes(part.x) for kind, part in parts.items()}, [])


USUAL = used(PARTS["train"], PARTS["validation"])


def ingredient(path: Path, images: UsedImages | None, seed: int = 0, architecture: str = "resnet_small") -> Path:
    """A network, as it was built, whose file lists images."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = build_model(architecture, num_classes=10, in_chans=1).network.state_dict()
        torch.manual_seed(seed)
        moved = {name: each + 0.01 * torch.rand(each.shape) for name, each in state.items() if each.dim()}
    metadata = ingredient_metadata(Constants((0.5,), (0.5,)), [], architecture, {})
    save_state({**state, **moved}, path, metadata | images_metadata(images))
    return path


def pictures(root: Path, samples: Samples, names: str = "") -> str:
    """Digits as a folder of images, under names of its own."""
    for row, label in enumerate(samples.y.tolist()):
        folder = root / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        image = (samples.x[row, 0] * 255).round().to(torch.uint8).numpy()
        Image.fromarray(image).save(folder / f"{names}{int(samples.ids[row])}.png")
    return str(root)


def few(samples: Samples, begin: int, end: int) -> Samples:
    return samples.take(torch.arange(begin, end), samples.name)


def evaluated(
    path: Path, folder: Path, *data: str, split: str | None = None, leave_out: bool = False, beside: Sequence[Path] = ()
) -> tuple[list[SetResult], list[str]]:
    said: list[str] = []
    spec = evaluate_spec(
        architecture="resnet_small",
        options={"in_chans": 1},
        data=list(data) or ["digits"],
        split=split,
        reading={"leave_out_training_images": leave_out},
    )
    results = evaluate_sets(
        path, spec, folder, watch=lambda doing, done, total: None, beside=list(beside), say=said.append
    )
    return results, said


# ---- in words


def test_images_are_counted_by_kind_and_checkpoints_of_the_same_counts_named_together() -> None:
    own = pixel_hashes(PARTS["train"].x)[:10]
    known = {"a": USUAL, "b": USUAL, "c": used(few(PARTS["train"], 0, 4)), "d": used(PARTS["test"])}
    assert overlaps("cartoons", own, known) == [
        "cartoons: of 10 images 10 are training images of a, b",
        "cartoons: of 10 images 4 are training images of c",
    ]
    both = np.concatenate([own, pixel_hashes(PARTS["validation"].x)[:3]])
    assert overlaps("cartoons", both, {"a": USUAL}) == [
        "cartoons: of 13 images 10 are training images, 3 are validation images of a"
    ]


def planted(count: int, seed: int) -> Hashes:
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


@pytest.mark.parametrize("seed", range(5))
def test_of_a_sample_the_overlap_is_estimated(seed: int) -> None:
    many = planted(60_000, seed)
    known = {"a": used_images({"training": many}, [])}
    asked = np.concatenate([many[:3000], planted(7000, seed + 100)])
    (words,) = overlaps("photos", asked, known)
    about, low, high = (int(part.replace(",", "")) for part in np.array(words.split())[[5, 11, 13]])
    assert words == (
        f"photos: of 10,000 images about {about:,} are training images (95 %: {low:,} to {high:,}, estimated from 1 in "
        "2) of a"
    )
    assert low < about < high
    assert abs(about - 3000) < 250  # four standard deviations of a share of 5,000
    assert overlaps("photos", planted(10_000, seed + 100), known) == []
    (whole,) = overlaps("photos", many, known)
    assert whole.startswith("photos: of 60,000 images about 60,000 are")


# ---- measuring


def test_the_parts_of_the_digits_overlap_as_they_should(tmp_path: Path) -> None:
    path = ingredient(tmp_path / "a", USUAL)
    for split in ("selection", "test"):
        assert evaluated(path, tmp_path / "out", split=split)[1] == []
    for split, kind, count in (("train", "training", 900), ("validation", "validation", 200)):
        (result,), said = evaluated(path, tmp_path / "out", split=split)
        assert said == [f"warning: digits/{split}: of {count} images {count} are {kind} images of {path}"]
        assert result.lines["clean"].estimate.n == count


def test_measurements_are_the_same_whatever_a_file_lists(tmp_path: Path) -> None:
    kept = []
    for images in (None, USUAL):
        path = ingredient(tmp_path / "a", images)
        (result,), _ = evaluated(path, tmp_path / "out", split="train")
        kept.append(result.lines["clean"])
    # The second time nothing was measured: the seconds are those of the first.
    assert kept[0] == kept[1]


def test_the_same_pictures_are_found_under_other_names_and_left_out_if_asked(tmp_path: Path) -> None:
    path = ingredient(tmp_path / "a", used(few(PARTS["train"], 0, 50), few(PARTS["validation"], 0, 20)))
    both = [few(PARTS["train"], 20, 90), few(PARTS["validation"], 10, 30)]
    for number, part in enumerate(both):
        folder = pictures(tmp_path / "images", part, f"img-{number}-")
    (result,), said = evaluated(path, tmp_path / "out", folder)
    assert said == [f"warning: images: of 90 images 30 are training images, 10 are validation images of {path}"]
    assert result.lines["clean"].estimate.n == 90
    (left,), said = evaluated(path, tmp_path / "out", folder, leave_out=True)
    assert said == []
    assert "40 of 90 images that a checkpoint was made with are left out" in left.notes
    # What is left is what lies in a folder without them.
    for number, part in enumerate((few(PARTS["train"], 50, 90), few(PARTS["validation"], 20, 30))):
        rest = pictures(tmp_path / "rest" / "images", part, f"img-{number}-")
    (wanted,), _ = evaluated(path, tmp_path / "other", rest)
    assert np.array_equal(left.counted["clean"], wanted.counted["clean"])


def test_of_several_checkpoints_all_rows_leave_out_the_same_images(tmp_path: Path) -> None:
    halves = [few(PARTS["train"], 0, 100), few(PARTS["train"], 100, 300)]
    paths = [ingredient(tmp_path / str(number), used(half), number) for number, half in enumerate(halves)]
    for path in paths:
        (result,), _ = evaluated(path, tmp_path / "out", split="train", leave_out=True, beside=paths)
        assert result.lines["clean"].estimate.n == 600


def test_what_cannot_be_left_out_is_refused_or_told(tmp_path: Path) -> None:
    sampled = replace(USUAL, one_in=4)
    path = ingredient(tmp_path / "a", sampled)
    with pytest.raises(BadInput, match=r"a was made with so many images that its file lists 1 in 4 of them"):
        evaluated(path, tmp_path / "out", leave_out=True)
    assert not (tmp_path / "out").exists()
    with pytest.raises(BadInput, match="digits: all of its 900 images made the checkpoints"):
        evaluated(ingredient(tmp_path / "b", USUAL), tmp_path / "out", split="train", leave_out=True)
    silent = ingredient(tmp_path / "c", None)
    assert evaluated(silent, tmp_path / "new", split="train")[1] == []
    (result,), said = evaluated(silent, tmp_path / "new", split="train", leave_out=True)
    assert said == [
        f"warning: {silent} does not say which images it was made with: what it does not list is not left out"
    ]
    assert result.lines["clean"].estimate.n == 900
    _, said = evaluated(ingredient(tmp_path / "d", replace(USUAL, complete=False)), tmp_path / "new", leave_out=True)
    assert "d does not say all images that it was made with" in said[0]


def test_the_command_warns_and_leaves_out(tmp_path: Path) -> None:
    path = ingredient(tmp_path / "a", used(few(PARTS["train"], 0, 100)))
    options = ["--arch", "resnet_small", "--split", "train"]
    command: list[str | Path] = ["evaluate", path, *options, "--out", tmp_path / "out"]
    assert f"warning: digits/train: of 900 images 100 are training images of {path}" in seasoning(*command)
    printed = seasoning(*command, "--leave-out-training-images")
    assert "warning" not in printed
    assert "digits/train, 800 images" in printed
    assert "digits: 100 of 900 images that a checkpoint was made with are left out" in printed


# ---- searching


def two(folder: Path, *images: UsedImages | None) -> dict[str, str]:
    return {f"i{number}": str(ingredient(folder / f"i{number}", each, number)) for number, each in enumerate(images)}


def test_a_search_warns_of_selection_points_and_held_out_images_that_made_an_ingredient(tmp_path: Path) -> None:
    files, said = two(tmp_path, USUAL, None), list[str]()
    folder = pictures(tmp_path / "new", few(PARTS["train"], 0, 60), "x")
    plan = make_plan(
        content(
            files,
            network={"architecture": "resnet_small", "options": {"in_chans": 1}},
            data={"digits": "digits", "new": folder},
            threats=[],
            shifts=[],
            strategy="uniform",
        )
    )
    result = found(plan, tmp_path / "run", said)
    assert [each for each in said if each.startswith("warning")] == [
        "warning: new, selection: of 40 images 40 are training images of i0",
        "warning: new, held-out images: of 20 images 20 are training images of i0",
    ]
    # The soup lists what chose it, and the ingredients' images.
    soup = read_used_images(result.answers[0].soup)
    assert soup is not None
    chosen = tasks_of(plan)["digits"].selection.samples
    assert set(soup.hashes["selection"].tolist()) == set(pixel_hashes(chosen.x).tolist())
    assert set(soup.hashes["training"].tolist()) == set(pixel_hashes(PARTS["train"].x).tolist())
    assert not soup.complete
    assert verify_soup(result.answers[0].soup, list(files.values())).problems == []
    # Whoever measures it on the points that chose it is told.
    _, told = evaluated(result.answers[0].soup, tmp_path / "out", split="selection")
    assert told == [f"warning: digits/selection: of 300 images 40 are selection images of {result.answers[0].soup}"]
    assert evaluated(result.answers[0].soup, tmp_path / "out", split="test")[1] == []


def derived(tmp_path: Path) -> Mapping[str, str]:
    """A folder of 80 digits and another of the same names: the same photographs in another light."""
    one = few(PARTS["test"], 0, 80)
    return {
        "new": pictures(tmp_path / "new", one),
        "dark": pictures(tmp_path / "dark", replace(one, x=one.x / 2)),
    }


def test_a_search_leaves_out_images_from_all_sets_that_were_made_of_them(tmp_path: Path) -> None:
    files = two(tmp_path, used(few(PARTS["test"], 0, 10)), used(few(PARTS["test"], 5, 15)))
    plan = content(
        files,
        network={"architecture": "resnet_small", "options": {"in_chans": 1}},
        data=derived(tmp_path),
        shifts=["noise"],
        threats=[],
        strategy="uniform",
    )
    plain = found(make_plan(plan), tmp_path / "plain")
    before = measured(tmp_path / "plain")
    said: list[str] = []
    left = found(make_plan({**plan, "reading": {"leave_out_training_images": True}}), tmp_path / "run", said)
    after = measured(tmp_path / "run")
    assert [each for each in said if "left out" in each] == [
        f"{name}: 15 of 80 images that an ingredient was made with are left out" for name in ("new", "dark")
    ]
    assert set(before) == set(after)
    assert {len(own) for name, own in after.items() if "selection" in name} == {40}
    lost = {each for own in before.values() for each in own} - {each for own in after.values() for each in own}
    new = tasks_of(make_plan({**plan, "others": None}))["new"]
    assert new.others is not None
    there = {
        hashed: each
        for part in (new.selection, new.others)
        for hashed, each in zip(part.hashes.tolist(), part.samples.ids.tolist(), strict=True)
    }
    made = {there[each] for each in pixel_hashes(few(PARTS["test"], 0, 15).x).tolist()}
    assert not made & {each for own in after.values() for each in own}
    assert lost <= made
    assert plain.answers[0].chosen[0].judged.complement is not None
    assert left.answers[0].chosen[0].judged.complement is not None


def test_a_search_refuses_what_it_cannot_leave_out(tmp_path: Path) -> None:
    plan = content(two(tmp_path, replace(USUAL, one_in=2), USUAL), threats=[], shifts=[])
    reading = {"reading": {"leave_out_training_images": True}}
    with pytest.raises(BadInput, match="i0 was made with so many images that its file lists 1 in 2 of them"):
        found(make_plan(plan | reading), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    folder = pictures(tmp_path / "new", few(PARTS["train"], 0, 70))
    grey = {"architecture": "resnet_small", "options": {"in_chans": 1}}
    files = two(tmp_path, used(few(PARTS["train"], 0, 31)), None)
    with pytest.raises(BadInput, match="'new' has 39 images left without those that made an ingredient, 40 are to"):
        found(
            make_plan(plan | reading | {"network": grey, "data": {"new": folder}, "ingredients": files}), tmp_path / "b"
        )


def test_the_option_of_the_command_is_the_key_of_a_plan(tmp_path: Path) -> None:
    files = two(tmp_path, used(few(PARTS["test"], 0, 10)), used())
    (tmp_path / "plan.toml").write_text(
        "shots = 40\nothers = 20\nstrategy = 'uniform'\n[network]\narchitecture = 'resnet_small'\n"
        "options = { in_chans = 1 }\n[ingredients]\n"
        + "".join(f"{name} = '{path}'\n" for name, path in files.items())
        + f"[data]\nnew = '{pictures(tmp_path / 'new', few(PARTS['test'], 0, 80))}'\n"
    )
    command: list[str | Path] = ["search", tmp_path / "plan.toml", "--out", tmp_path / "run"]
    said = "new: 10 of 80 images that an ingredient was made with are left out"
    assert said in seasoning(*command, "--leave-out-training-images")
    assert said in seasoning(*command, "--set", "reading.leave_out_training_images=true")


# ---- measuring batch norm anew


def recalibrated(tmp_path: Path, paths: Sequence[Path], out: str, leave_out: bool = False) -> tuple[Path, list[str]]:
    said: list[str] = []
    soup = make_soup(
        paths,
        (0.5, 0.5),
        tmp_path / out,
        policy="clean",
        architecture="preact_resnet18",
        options={"width": 2},
        data="digits",
        leave_out_training_images=leave_out,
        say=said.append,
    )
    return soup, said


@pytest.fixture
def copies(tmp_path: Path) -> list[Path]:
    """Two copies of a network with batch norm, the first validated on some of the digits' training images."""
    paths = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = build_model("preact_resnet18", num_classes=10, in_chans=1, width=2).network.state_dict()
    for name, images in (
        ("a", used(few(PARTS["train"], 0, 300), few(PARTS["train"], 300, 400))),
        ("b", used(few(PARTS["train"], 0, 300))),
    ):
        save_state(state, tmp_path / name, images_metadata(images))
        paths.append(tmp_path / name)
    return paths


def test_recalibration_warns_and_its_soup_lists_what_it_was_measured_on(tmp_path: Path, copies: list[Path]) -> None:
    soup, said = recalibrated(tmp_path, copies, "soup")
    note = "(training images are what batch norm is meant to be measured on; no accuracy on any of these is held out)"
    counts = "of 900 images 300 are training images"
    assert said == [
        f"warning: digits/train: {counts}, 100 are validation images of {copies[0]} {note}",
        f"warning: digits/train: {counts} of {copies[1]} {note}",
    ]
    listed = read_used_images(soup)
    assert listed is not None
    assert set(listed.hashes["training"].tolist()) == set(pixel_hashes(PARTS["train"].x).tolist())
    assert [each.name for each in listed.sets] == ["digits/train"]


def listing(path: Path, images: UsedImages) -> None:
    """The same checkpoint, whose file lists other images."""
    save_state({name: each.clone() for name, each in load_ingredient(path).items()}, path, images_metadata(images))


def test_recalibration_leaves_images_out_if_asked(tmp_path: Path, copies: list[Path]) -> None:
    soup, said = recalibrated(tmp_path, copies, "soup", leave_out=True)
    assert said == ["digits/train: 400 of 900 images made the ingredients and are left out"]
    # By hand: the others alone, at the mixed parameters.
    model = build_model("preact_resnet18", num_classes=10, in_chans=1, width=2, state=load_ingredient(copies[0]))
    recalibrate(model, (batch.x for batch in few(PARTS["train"], 400, 900)))
    for name, each in model.network.state_dict().items():
        torch.testing.assert_close(load_ingredient(soup)[name], each, msg=name)
    listing(copies[0], replace(USUAL, one_in=2))
    with pytest.raises(BadInput, match="a was made with so many images that its file lists 1 in 2 of them"):
        recalibrated(tmp_path, copies, "none", leave_out=True)
    listing(copies[0], USUAL)
    with pytest.raises(BadInput, match="digits/train: all of its 900 images made the checkpoints"):
        recalibrated(tmp_path, copies, "none", leave_out=True)
    assert not (tmp_path / "none").exists()
    with pytest.raises(BadInput, match="policy 'mix' takes no architecture and no data, and leaves no images out"):
        make_soup(copies, (0.5, 0.5), tmp_path / "none", leave_out_training_images=True)


def test_the_command_that_mixes_warns(tmp_path: Path, copies: list[Path]) -> None:
    options = ["--weights", "uniform", "--batch-norm", "clean", "--arch", "preact_resnet18", "--option", "width=2"]
    command: list[str | Path] = ["mix", *copies, *options, "--data", "digits", "--out", tmp_path / "soup"]
    assert "warning: digits/train: of 900 images 300 are training images" in seasoning(*command)
    (tmp_path / "soup").unlink()
    printed = seasoning(*command, "--leave-out-training-images")
    assert "digits/train: 400 of 900 images made the ingredients and are left out" in printed
