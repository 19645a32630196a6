"""One checkpoint alone: measured, kept, gone on with, and told apart from others."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from seasoning.attacks import suite_attack
from seasoning.checkpoints.class_names import carried_names
from seasoning.checkpoints.load import State, load_ingredient
from seasoning.commands.classifiers import Member
from seasoning.commands.evaluate import Line, SetResult, accuracy_table, evaluate_ensemble, evaluate_sets
from seasoning.config.evaluate import EvaluateSpec
from seasoning.config.run_record import read_evaluations
from seasoning.config.sections import NetworkSection, ReadingSection
from seasoning.data import Samples
from seasoning.data.imagenet import wnids
from seasoning.data.sources import source_parts
from seasoning.errors import BadInput, Mismatch, UnknownName
from seasoning.evaluation import measure as measuring
from seasoning.evaluation.evaluator import evaluate
from seasoning.evaluation.progress import Watch
from seasoning.models import PixelClassifier, build_model
from seasoning.soup import Ensemble
from seasoning.store.database import Store
from seasoning.store.run_folder import STORE
from seasoning.threat import Threat
from tests.data.trees import GREY, VAL, save_coded
from tests.make import evaluate_spec


THREATS = [Threat("linf", 0.05), Threat("l1", 0.5)]


def silent(doing: str, done: float, total: float) -> None:
    """Watches and says nothing."""


@pytest.fixture(scope="module")
def checkpoint(robust_state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "robust.ckpt"
    save_file(dict(robust_state), path)
    return path


def measured(
    checkpoint: Path | str,
    folder: Path,
    *,
    data: str = "digits",
    split: str | None = None,
    watch: Watch = silent,
    **options: object,
) -> dict[str, Line]:
    given: dict[str, object] = {
        "architecture": "resnet_small",
        "data": [data],
        "split": split,
        "threats": list(map(str, THREATS)),
        "steps": 5,
    }
    spec = evaluate_spec(**given | options)  # type: ignore[arg-type]
    (result,) = evaluate_sets(checkpoint, spec, folder, watch=watch)
    return result.lines


def test_lines_and_costs_and_nothing_twice(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = measured(checkpoint, tmp_path)
    values = {name: line.estimate.value for name, line in lines.items()}
    assert list(values) == ["clean", "linf:0.05", "l1:0.5", "union"]
    assert values["union"] <= min(values["linf:0.05"], values["l1:0.5"]) <= values["clean"]
    assert lines["clean"].estimate.n == 397
    clean, attacked = lines["clean"].cost, lines["linf:0.05"].cost
    assert clean is not None
    assert attacked is not None
    assert (clean.gradients, clean.forwards) == (0, 397)
    # Robust samples take all five steps, a last look and the clean pass; nobody takes more and one trial of the find.
    robust = round(values["linf:0.05"] * 397)
    assert 5 * robust <= attacked.gradients <= 5 * 397
    assert 7 * robust <= attacked.forwards <= 8 * 397
    assert attacked.seconds > 0
    assert lines["union"].cost is None
    monkeypatch.setattr(measuring, "evaluate", None)
    assert measured(checkpoint, tmp_path) == lines


# ---- some of the images


def test_some_images_are_the_same_for_every_threat_and_among_more(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = evaluate_spec(architecture="resnet_small", threats=list(map(str, THREATS)), steps=5, images=60)
    (more,) = evaluate_sets(checkpoint, spec, tmp_path, watch=silent)
    assert {name: line.estimate.n for name, line in more.lines.items()} == {
        **dict.fromkeys(("clean", "linf:0.05", "l1:0.5", "union"), 60)
    }
    assert (more.images, more.there) == (60, 397)
    drawn = [set(ids.tolist()) for ids, _ in more.counted.values()]
    assert all(ids == drawn[0] for ids in drawn)
    assert "Measured on 60 of 397 images of digits." in accuracy_table({"net": [more]}).note
    # Fewer are among them, and were measured.
    monkeypatch.setattr(measuring, "evaluate", None)
    few = spec.model_copy(update={"images": 20})
    (fewer,) = evaluate_sets(checkpoint, few, tmp_path, watch=silent)
    assert set(fewer.counted["clean"][0].tolist()) < drawn[0]
    assert fewer.lines["union"].estimate.n == 20
    with Store(tmp_path / STORE) as store:
        notes = read_evaluations(store)
    assert [note.images for note in notes] == [{"digits": (60, 397)}, {"digits": (20, 397)}]
    assert (notes[0].spec, notes[0].checkpoints) == (spec, (str(checkpoint),))


def test_so_many_of_each_class_and_too_many_are_refused_before_any_work(checkpoint: Path, tmp_path: Path) -> None:
    lines = measured(checkpoint, tmp_path / "out", threats=[], shots=3)
    assert lines["clean"].estimate.n == 30
    with pytest.raises(BadInput, match="digits has 397 images, 1,000 are asked for: give at most --images 397"):
        measured(checkpoint, tmp_path / "no", images=1000)
    with pytest.raises(BadInput, match="images=5 and shots=2: give one"):
        measured(checkpoint, tmp_path / "no", images=5, shots=2)
    assert not (tmp_path / "no").exists()


# ---- ensembles


def joined(members: list[Member], folder: Path) -> SetResult:
    spec = evaluate_spec(architecture="resnet_small", steps=4, threats=["linf:0.05"], images=50)
    (result,) = evaluate_ensemble(members, spec, folder, watch=silent)
    return result


@pytest.fixture(scope="module")
def members(robust_state: State, nominal_state: State, tmp_path_factory: pytest.TempPathFactory) -> list[Member]:
    folder = tmp_path_factory.mktemp("members")
    torch.manual_seed(1)
    small = build_model("resnet_small", num_classes=10, widths=(8, 16)).network.state_dict()
    states = {"robust": dict(robust_state), "nominal": dict(nominal_state), "small": small}
    for name, state in states.items():
        save_file(state, folder / f"{name}.safetensors")
    own = {"small": {"widths": [8, 16]}}
    return [
        Member(folder / f"{name}.safetensors", NetworkSection(architecture="resnet_small", options=own.get(name, {})))
        for name in states
    ]


def test_an_ensemble_of_any_architectures_is_attacked_as_one_model(
    members: list[Member], robust_state: State, nominal_state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = joined(members, tmp_path)
    assert result.passes == 3
    assert accuracy_table({"all": [result]}).rows[0].passes == 3
    small = build_model("resnet_small", num_classes=10, widths=(8, 16), state=load_ingredient(members[2].source))
    nets = [build_model("resnet_small", num_classes=10, state=state) for state in (robust_state, nominal_state)]
    by_hand = Ensemble([*nets, small]).eval()
    samples = source_parts("digits")["test"]
    chosen = samples.take(torch.isin(samples.ids, torch.tensor(result.counted["clean"][0])), "some")
    attack = suite_attack("default", "linf", loss=None, steps=4)
    outcomes = evaluate(by_hand, chosen, attack=attack, threat=Threat("linf", 0.05))
    assert result.lines["clean"].estimate.value == outcomes.correct.mean()
    assert result.lines["linf:0.05"].estimate.value == pytest.approx(outcomes.robust.mean(), abs=1 / 50)
    # The same members in another order are the same model; without one of them it is another.
    monkeypatch.setattr(measuring, "evaluate", None)
    assert joined(members[::-1], tmp_path).lines == result.lines
    with pytest.raises(TypeError):
        joined(members[:2], tmp_path)
    with Store(tmp_path / STORE) as store:
        models = {asked.model for asked in store.measurements()}
    assert [(model.kind, len(model.parts)) for model in models] == [("ensemble", 3)]


def test_ensembles_that_are_none_are_refused_before_any_work(members: list[Member], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="an ensemble of 1 checkpoint: give two or more"):
        joined(members[:1], tmp_path / "out")
    with pytest.raises(BadInput, match="are one model: an ensemble is of different ones"):
        joined([members[0], members[1], members[0]], tmp_path / "out")
    names = json.dumps([f"digit {number}" for number in range(10)])
    backwards = json.dumps([f"digit {number}" for number in reversed(range(10))])
    told = []
    for member, said in zip(members[:2], (names, backwards), strict=True):
        save_file(dict(load_ingredient(member.source)), path := tmp_path / Path(member.source).name, {"classes": said})
        told.append(Member(path, member.network))
    with pytest.raises(Mismatch, match="name the classes in two orders, such as"):
        joined(told, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_batches_and_layout_do_not_change_the_answer(checkpoint: Path, tmp_path: Path) -> None:
    lines = measured(checkpoint, tmp_path / "whole")
    other = measured(checkpoint, tmp_path / "parts", batch_size=16, channels_last=True, device="cpu")
    for name, line in lines.items():
        # Kernels differ with the shape: a few samples in a thousand may flip.
        assert abs(line.estimate.value - other[name].estimate.value) <= 2 / 397


def test_who_differs_in_normalization_is_another_model(checkpoint: Path, tmp_path: Path) -> None:
    own = measured(checkpoint, tmp_path, threats=[])
    same = measured(checkpoint, tmp_path, threats=[], mean=(0.5,), std=(0.5,))
    dark = measured(checkpoint, tmp_path, threats=[], mean=(0.9,), std=(0.1,))
    assert same == own
    assert dark["clean"].estimate.value < own["clean"].estimate.value


def test_a_function_in_a_file_is_an_architecture(checkpoint: Path, tmp_path: Path) -> None:
    own = measured(checkpoint, tmp_path / "own")
    code = tmp_path / "nets.py"
    code.write_text(
        "from torch import nn\n"
        "from seasoning.models.resnet import resnet_small\n\n"
        "class Centred(nn.Module):\n"
        "    def __init__(self, **options):\n"
        "        super().__init__()\n"
        "        self.net = resnet_small(**options)\n\n"
        "    def forward(self, x):\n"
        "        return self.net((x - 0.5) / 0.5)\n\n"
        "def network(num_classes, in_chans):\n"
        "    return Centred(num_classes=num_classes, in_chans=in_chans)\n"
    )
    wrapped = tmp_path / "wrapped.pt"
    state = {f"net.{name}": tensor for name, tensor in load_ingredient(checkpoint).items()}
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, wrapped)
    other = measured(wrapped, tmp_path / "file", architecture=f"{code}:network")
    assert {name: line.estimate for name, line in other.items()} == {name: line.estimate for name, line in own.items()}


def test_a_folder_of_images_is_measured_whole(
    checkpoint: Path, digits: dict[str, Samples], robust_model: PixelClassifier, tmp_path: Path
) -> None:
    part = digits["test"].take(torch.arange(30), "part")
    root = tmp_path / "images"
    for place, (image, label) in enumerate(zip(part.x, part.y.tolist(), strict=True)):
        folder = root / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image[0] * 255).round().byte().numpy()).save(folder / f"{place}.png")
    code = tmp_path / "grey.py"
    code.write_text(GREY)
    wrapped = tmp_path / "wrapped.safetensors"
    save_file({f"net.{name}": tensor for name, tensor in load_ingredient(checkpoint).items()}, wrapped)
    lines = measured(wrapped, tmp_path / "out", architecture=f"{code}:network", data=str(root), threats=[])
    rounded = ((part.x * 255).round() / 255).clamp(0, 1)
    right = (robust_model(rounded).argmax(1) == part.y).float().mean()
    assert lines["clean"].estimate.n == 30
    assert lines["clean"].estimate.value == pytest.approx(float(right))
    with pytest.raises(BadInput, match="measured whole"):
        measured(wrapped, tmp_path / "out", data=str(root), split="test")


def test_a_kill_between_blocks_loses_no_finished_block(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "_BLOCK", 128)
    whole = measured(checkpoint, tmp_path / "whole", batch_size=16)
    shares: list[float] = []

    def watch(doing: str, done: float, total: float) -> None:
        shares.append(done)
        if doing.endswith("linf:0.05") and 1.5 < done < 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measured(checkpoint, tmp_path / "cut", batch_size=16, watch=watch)
    assert shares == sorted(shares)
    looked: list[int] = []

    def counted(model: PixelClassifier, samples: Samples, **options: object) -> object:
        looked.append(len(samples))
        return evaluate(model, samples, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(measuring, "evaluate", counted)
    again = measured(checkpoint, tmp_path / "cut", batch_size=16)
    # Of the four blocks of the first threat the first two were finished, and the clean ones.
    assert looked == [128, 13, 128, 128, 128, 13]
    assert {name: line.estimate for name, line in again.items()} == {n: line.estimate for n, line in whole.items()}


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"architecture": "resnet10t"}, Mismatch, r"lacks tensor 'conv1.*' of shape"),
        ({"suite": "standrad"}, UnknownName, "did you mean 'standard'"),
        ({"precision": "bf1"}, UnknownName, "did you mean 'bf16'"),
        ({"split": "tset"}, UnknownName, "did you mean 'test'"),
        ({"data": "no/such/folder"}, UnknownName, "unknown data set"),
        ({"batch_size": 0}, BadInput, "setting batch_size=0"),
        ({"device": "cuda:99"}, BadInput, "device 'cuda:99' cannot be used"),
        ({"device": "gpu"}, BadInput, "device 'gpu' cannot be used"),
    ],
)
def test_what_does_not_fit_is_named_before_any_work(
    checkpoint: Path, tmp_path: Path, options: dict[str, object], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        measured(checkpoint, tmp_path / "out", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_changed_neighbour_of_an_architecture_is_measured_anew(checkpoint: Path, tmp_path: Path) -> None:
    code = tmp_path / "own" / "nets.py"
    code.parent.mkdir()
    (code.parent / "signs.py").write_text("SIGN = 1")
    code.write_text(
        "import signs\n"
        "from seasoning.models.resnet import resnet_small\n\n"
        "class Signed(resnet_small.__globals__['ResidualNetwork']):\n"
        "    def forward(self, x):\n"
        "        return signs.SIGN * super().forward((x - 0.5) / 0.5)\n\n"
        "def network(num_classes, in_chans):\n"
        "    made = resnet_small(num_classes=num_classes, in_chans=in_chans)\n"
        "    made.__class__ = Signed\n"
        "    return made\n"
    )
    right = measured(checkpoint, tmp_path / "out", architecture=f"{code}:network", threats=[])["clean"].estimate.value
    (code.parent / "signs.py").write_text("SIGN = -1")
    wrong = measured(checkpoint, tmp_path / "out", architecture=f"{code}:network", threats=[])["clean"].estimate.value
    assert right > 0.6
    assert wrong < 0.1


# Says the class that the first channel encodes; one parameter, so that a checkpoint can be loaded.
CODED = """
import torch
from torch import nn

class Coded(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(classes))

    def forward(self, x):
        answer = (x[:, 1].mean((1, 2)) * 255).round()
        return self.shift - (torch.arange(len(self.shift)) - answer[:, None]).abs()

def coded(num_classes):
    return Coded(num_classes)
"""
# Trained by timm's reader: logit 0 is class1, 1 is class2, 2 is class10, 3 is Zebra.
TRAINED = ("class1", "class2", "class10", "Zebra")


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    for index, name in enumerate(TRAINED):
        for number in range(3):
            save_coded(tmp_path / "set" / name / f"{number}.png", index)
    (tmp_path / "coded.py").write_text(CODED)
    return tmp_path


def accuracy_of(
    folder: Path, metadata: dict[str, str] | None = None, outputs: int = 4, **reading: Any
) -> tuple[float, str]:
    save_file({"shift": torch.zeros(outputs)}, folder / "net.safetensors", metadata)
    spec = EvaluateSpec(
        network=NetworkSection(architecture=f"{folder / 'coded.py'}:coded"),
        data=(str(folder / "set"),),
        reading=ReadingSection(**reading),
    )
    (result,) = evaluate_sets(folder / "net.safetensors", spec, folder / "out", watch=silent)
    return result.lines["clean"].estimate.value, "; ".join(result.notes)


def test_the_order_of_the_classes_decides_and_is_said(numbered: Path) -> None:
    # Plain order is Zebra, class1, class10, class2: only class10 has its own logit.
    value, said = accuracy_of(numbered)
    assert value == 0.25
    assert (
        "classes are numbered in plain order, as torchvision does: Zebra, class1, class10, class2; in natural" in said
    )
    assert "--class-order natural" in said
    assert accuracy_of(numbered, class_order="natural") == (1.0, "")
    assert accuracy_of(numbered, classes=TRAINED) == (1.0, "")


def test_names_in_a_checkpoint_or_a_config_settle_the_order(numbered: Path) -> None:
    said = "classes are numbered as the checkpoint names them: class1, class2, class10, Zebra"
    for key, names in (
        ("label_names", json.dumps(TRAINED)),
        ("id2label", json.dumps(dict(enumerate(TRAINED)))),
        ("class_to_idx", json.dumps({name: index for index, name in enumerate(TRAINED)})),
    ):
        assert accuracy_of(numbered, {key: names}) == (1.0, said)
    # Of more classes than there are folders.
    assert accuracy_of(numbered, {"classes": json.dumps([*TRAINED, "zoo"])}, outputs=5)[0] == 1
    # What the user says comes first.
    value, said = accuracy_of(numbered, {"classes": json.dumps(TRAINED)}, class_order="plain")
    assert (value, "the checkpoint names them as class1, class2" in said) == (0.25, True)
    (numbered / "config.json").write_text(json.dumps({"id2label": dict(enumerate(TRAINED))}))
    assert accuracy_of(numbered)[0] == 1


@pytest.mark.parametrize(
    "entries",
    [
        {"class_to_idx": {name: index for index, name in enumerate(TRAINED)}},
        {"args": argparse.Namespace(classes=list(TRAINED), lr=0.1)},
        {"hyper_parameters": {"data": {"id2label": dict(enumerate(TRAINED))}}},
    ],
    ids=lambda entries: next(iter(entries)),
)
def test_names_that_a_training_script_saved_settle_the_order(numbered: Path, entries: dict[str, Any]) -> None:
    torch.save({"state_dict": {"shift": torch.zeros(4)}, "epoch": 3, **entries}, numbered / "net.pth")
    assert carried_names(numbered / "net.pth") == TRAINED
    # Also where a part of the file is named.
    assert carried_names(f"{numbered / 'net.pth'}:state_dict") == TRAINED
    assert carried_names(numbered / "nowhere.pth") is None


def test_a_published_set_is_numbered_as_published_whatever_the_checkpoint_says(tmp_path: Path) -> None:
    for index in (0, 5):
        save_coded(tmp_path / "set" / wnids()[index] / VAL.format(index + 1), index)
    (tmp_path / "coded.py").write_text(CODED)
    names = json.dumps([f"word {index}" for index in reversed(range(1000))])
    assert accuracy_of(tmp_path, {"label_names": names}, 1000, partial=True)[0] == 1


def test_classes_that_do_not_fit_say_what_the_folder_was_taken_for(tmp_path: Path) -> None:
    for index in (0, 5):
        save_coded(tmp_path / "set" / wnids()[index] / "mine.png", index)
    (tmp_path / "coded.py").write_text(CODED)
    with pytest.raises(Mismatch, match=r"called like classes of ImageNet, validation: imagenet=.*set reads them as"):
        accuracy_of(tmp_path, outputs=1000)


def test_a_radius_that_covers_the_box_is_refused_before_anything_is_measured(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="did you mean l1:60/255"):
        measured(checkpoint, tmp_path, threats=["l1:60"])
    with Store(tmp_path / STORE) as store:
        assert list(store.headers()) == []


def test_published_constants_are_those_of_networks_of_timm_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=10, in_chans=1)
    config = {"num_classes": 10, "mean": [0.1], "std": [0.3]}
    timm.models.save_for_hf(network, tmp_path / "hub", model_config=config, safe_serialization=True)
    known = json.loads((tmp_path / "hub" / "config.json").read_text())
    known["pretrained_cfg"] |= {"mean": [0.1], "std": [0.3], "input_size": [1, 8, 8], "num_classes": 10}
    known["model_args"] = {"in_chans": 1}
    (tmp_path / "hub" / "config.json").write_text(json.dumps(known))
    (tmp_path / "net.py").write_text(
        "import timm\ndef build(num_classes, in_chans):\n"
        "    return timm.create_model('resnet10t', num_classes=num_classes, in_chans=in_chans)\n"
    )
    met: dict[str, object] = {}

    def build(architecture: str, options: object, **about: object) -> PixelClassifier:
        met[architecture] = about["constants"]
        raise BadInput("enough")

    monkeypatch.setattr("seasoning.commands.classifiers.build_for", build)
    for architecture in ("resnet10t", f"{tmp_path / 'net.py'}:build"):
        with pytest.raises(BadInput, match="enough"):
            measured(f"local-dir:{tmp_path / 'hub'}", tmp_path / "out", architecture=architecture)
    assert met == {"resnet10t": ((0.1,), (0.3,)), f"{tmp_path / 'net.py'}:build": None}
