"""The paper's three searches of four ingredients, on tiny trees of its eight data sets in their real layouts."""

import json
from pathlib import Path

import pytest
import torch

from experiments import imagenet_radii
from seasoning.checkpoints.load import save_state
from seasoning.config import plan_files, read_plan
from seasoning.config.search import objectives_of, points_of
from seasoning.config.train import read_recipe_file, recipe_files
from seasoning.data.imagenet import wnids
from seasoning.data.imagenet_variants import COARSE
from seasoning.noise import CORRUPTIONS
from seasoning.threat import Threat
from tests.data.trees import ORACLE, VAL, save_coded


COUNT = 12
COLUMNS = (
    *("imagenet", "imagenet-real", "imagenet-v2", "imagenet-a", "imagenet-r", "imagenet-sketch"),
    *("conflict-stimuli", "imagenet-c"),
)
# By how many classes the ingredients of each set are ahead of the image: nominal, l_inf, l_2, l_1.
AHEAD = {"eps": (0, 2, 4, -2), "half": (0, 2, 0, 0), "quarter": (0, 0, 0, 0)}


def save_sets(root: Path) -> None:
    """Photographs whose colour says their class; of the corruptions, one or two less."""
    names = wnids()
    for number in range(1, COUNT + 1):
        label = number + 4
        save_coded(root / "imagenet" / "val" / names[label] / VAL.format(number), label)
        for corruption, severity, off in (("fog", 1, 0), ("gaussian_noise", 2, 1), ("gaussian_noise", 5, 2)):
            folder = root / "imagenet-c" / corruption / str(severity) / names[label]
            save_coded(folder / VAL.format(number), label - off)
        save_coded(root / "imagenetv2-matched-frequency-format-val" / str(label) / f"{number}.jpeg", label)
        save_coded(root / "imagenet-a" / "n01498041" / f"0.{number}_x _ x_0.9.jpg", 6)
        save_coded(root / "imagenet-r" / "n01443537" / f"art_{number}.jpg", 1)
        save_coded(root / "imagenet-sketch" / names[label] / f"sketch_{number}.JPEG", label)
        stimulus = root / "style-transfer-preprocessed-512" / "cat" / f"cat{number}-elephant1.png"
        save_coded(stimulus, COARSE["cat"][0])
    (root / "imagenet" / "val" / "real.json").write_text(json.dumps([[number + 4] for number in range(1, COUNT + 1)]))


def save_ingredients(root: Path) -> None:
    for name in imagenet_radii.RADII:
        plan = read_plan(plan_files()[f"imagenet/plan-{name}"])
        assert list(plan.ingredients) == ["nominal", "linf", "l2", "l1"]
        for path, ahead in zip(plan.ingredients.values(), AHEAD[name], strict=True):
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            save_state({"shift": torch.tensor([float(ahead)])}, file, {})


def rows(text: str) -> dict[str, list[list[str]]]:
    """The cells of the rows of a table in Markdown, by the headings above them."""
    found: dict[str, list[list[str]]] = {}
    group = ""
    for line in text.splitlines():
        if not line.startswith("|"):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0].startswith("*"):
            group = cells[0].strip("*")
        else:
            found.setdefault(group, []).append(cells)
    return found


def value(cell: str) -> float:
    return float(cell.strip("()").split()[0].rstrip(")"))


@pytest.mark.slow
def test_the_three_searches_stand_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_sets(tmp_path)
    save_ingredients(tmp_path)
    (tmp_path / "oracle.py").write_text(ORACLE)
    monkeypatch.chdir(tmp_path)
    quick = ["shots=4", "space.step=0.5", "reading.partial=true", "network.architecture=oracle.py:oracle"]
    imagenet_radii.main([part for each in quick for part in ("--set", each)])
    printed = capsys.readouterr().out
    ours, published = printed[printed.index("**Runs") :].split("**Published: radii.**")
    table = rows(ours)
    assert [name for name in table if name] == [f"{name}: no threats" for name in imagenet_radii.RADII]
    # A soup is right on fog as the nominal one, on noise of severity 2 half a class or one ahead, of 5 two.
    for name, parted in {"eps": 100.0, "half": 100.0, "quarter": 33.3}.items():
        single, specific, by_part = table[f"{name}: no threats"]
        assert [single[0], specific[0], by_part[0]] == [
            *("single soup", "shift-specific soups", "shift-specific soups, each part its own")
        ]
        for row, c, mean in ((single, 33.3, 91.7), (specific, 33.3, 91.7), (by_part, parted, (700 + parted) / 8)):
            assert [value(cell) for cell in row[2:9]] == [100.0] * 7
            assert value(row[9]) == c
            assert value(row[10]) == pytest.approx(mean, abs=0.05)
        # Chosen for many data sets, a mean is not that of one model.
        assert not single[10].startswith("(")
        assert by_part[10].startswith("(")
        folder = tmp_path / "runs" / "radii" / name
        top = rows((folder / "tables" / "top-soups.md").read_text())
        ranks = ["Best soups of the search", "Second best soups", "Third best soups"]
        assert [(rank, len(top[rank])) for rank in ranks] == [(rank, 3) for rank in ranks]
        composition = (folder / "figures" / "composition.csv").read_text().splitlines()
        assert composition[0].split(",") == ["group", "task", "rank", "nominal", "linf", "l2", "l1"]
        assert any(line.startswith("gaussian_noise,5,1,") for line in composition), composition
        assert (folder / "figures" / "composition.png").exists()
        assert (folder / "report.html").exists()
    groups = rows(published)
    assert groups["Radii eps"][1][-1] == "(64.24)"
    assert groups["Radii eps / 4"][0][-1] == "59.01"
    assert {row[0] for row in groups["This run (imagenet)"]} >= {"nominal", "linf", "l2", "l1", "single soup"}


@pytest.mark.parametrize("name", imagenet_radii.RADII)
def test_plans_are_those_of_the_paper(name: str) -> None:
    plan = read_plan(plan_files()[f"imagenet/plan-{name}"])
    assert (plan.shots, plan.strategy, plan.top, plan.others, plan.threats) == (1000, "grid", 3, None, ())
    assert tuple(plan.data) == COLUMNS
    assert (plan.space.kind, len(points_of(plan))) == ("simplex", 286)
    ingredients = {key: Path(path).parent.name for key, path in plan.ingredients.items()}
    divisor = {"eps": 1, "half": 2, "quarter": 4}[name]
    radii = {"linf": 4 / 255 / divisor, "l2": 4 / divisor, "l1": {1: 255, 2: 128, 4: 64}[divisor]}
    for norm, eps in radii.items():
        (text,) = read_recipe_file(recipe_files()[f"imagenet/{ingredients[norm]}"]).threats
        assert Threat.parse(text) == Threat(norm, eps)  # type: ignore[arg-type]
    assert ingredients["nominal"] == "vit_b16-linf-to-nominal"
    # Once the data sets are looked at, there is an objective for each of them and for each part of C, too.
    parts = {"imagenet-c": [f"imagenet-c/{kind}/{severity}" for kind in CORRUPTIONS for severity in range(1, 6)]}
    names = [objective.name for objective in objectives_of(plan, parts)]
    assert names == ["mean", *COLUMNS[:-1], *parts["imagenet-c"], "imagenet-c"]
