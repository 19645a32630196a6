"""The recipes that come with the package, and what is said of wrong ones."""

from pathlib import Path

import pytest

from seasoning.commands.train_recipe import check_recipe, settings_from
from seasoning.config.base import read_spec, resolve, with_settings
from seasoning.config.train import RecipeSpec, find_recipe, heading, read_recipe_file, recipe_files
from seasoning.errors import BadInput, UnknownName
from seasoning.training.augment import Mixture, PhotoView, RandAugment


RECIPES = recipe_files()
NORMS = {"linf": "linf:8/255", "l2": "l2:0.5", "l1": "l1:12"}
# Name: objective, threats, peak rate, recipes that it may start from; typed from the paper's appendix B.1.
FACTS: dict[str, tuple[str, list[str], float, list[str]]] = {
    "linf-scratch": ("adversarial", ["linf:8/255"], 0.1, []),
    "l2-scratch": ("adversarial", ["l2:0.5"], 0.1, []),
    "l1-scratch": ("adversarial", ["l1:12"], 0.1, []),
    "linf-to-l2": ("adversarial", ["l2:0.5"], 0.1, ["linf-scratch"]),
    "linf-to-l1": ("adversarial", ["l1:12"], 0.1, ["linf-scratch"]),
    "l2-to-linf": ("adversarial", ["linf:8/255"], 0.1, ["l2-scratch"]),
    "l2-to-l1": ("adversarial", ["l1:12"], 0.1, ["l2-scratch"]),
    "l1-to-linf": ("adversarial", ["linf:8/255"], 0.1, ["l1-scratch"]),
    "l1-to-l2": ("adversarial", ["l2:0.5"], 0.5, ["l1-scratch"]),
    "linf-to-nominal": ("nominal", [], 0.1, ["linf-scratch"]),
    "l2-to-nominal": ("nominal", [], 0.1, ["l2-scratch"]),
    "l1-to-nominal": ("nominal", [], 0.1, ["l1-scratch"]),
    "max-finetune": ("max", list(NORMS.values()), 0.1, ["linf-scratch", "l2-scratch", "l1-scratch"]),
    "sat-finetune": ("sat", list(NORMS.values()), 0.1, ["linf-scratch", "l2-scratch", "l1-scratch"]),
    "avg-finetune": ("avg", list(NORMS.values()), 0.1, ["linf-scratch", "l2-scratch", "l1-scratch"]),
    "msd-finetune": ("msd", list(NORMS.values()), 0.1, ["linf-scratch", "l2-scratch", "l1-scratch"]),
    "eat-finetune": ("eat", ["linf:8/255", "l1:12"], 0.1, ["linf-scratch", "l2-scratch", "l1-scratch"]),
}


def read(name: str) -> RecipeSpec:
    return read_recipe_file(RECIPES[f"cifar10/{name}"])


def test_every_recipe_of_cifar_is_there_and_no_other() -> None:
    assert {name for name in RECIPES if name.startswith("cifar10/")} == {f"cifar10/{name}" for name in FACTS}


@pytest.mark.parametrize("name", FACTS)
def test_recipes_say_what_the_paper_says(name: str) -> None:
    spec = read(name)
    objective, threats, rate, starts = FACTS[name]
    assert spec.objective.name == objective
    assert list(spec.threats) == threats
    assert list(spec.starts) == [f"cifar10/{each}" for each in starts]
    assert spec.network.architecture == "wide_resnet_28_10"
    assert (spec.data.classes, spec.data.shape, spec.data.validation) == (10, (3, 32, 32), 1000)
    assert (spec.optimizer.rate, spec.optimizer.batch_size) == (rate, 128)
    schedule = spec.schedule
    if starts:
        assert (schedule.epochs, schedule.kind, schedule.warmup) == (10, "cosine", 0.1)
    else:
        assert (schedule.epochs, schedule.kind, schedule.milestones, schedule.factor) == (200, "step", (100, 150), 0.1)
        assert schedule.warmup == 0
    if threats:
        assert spec.attack is not None
        assert (spec.attack.steps, spec.attack.loss, spec.attack.batch_norm) == (10, "ce", "evaluation")
    else:
        assert spec.attack is None
    check_recipe(spec)


@pytest.mark.parametrize("name", FACTS)
def test_every_header_says_command_time_and_published_numbers(name: str) -> None:
    path = RECIPES[f"cifar10/{name}"]
    lines = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert heading(path).startswith("CIFAR-10: ")
    assert any(line.startswith(f"# Command: seasoning train {name} ") for line in lines)
    assert any("Expected time:" in line and "NVIDIA H100" in line for line in lines)
    assert any("estimate until measured" in line for line in lines)
    assert "# Published numbers: not published in the material at hand." in lines
    assert ("--init" in "".join(lines)) == bool(FACTS[name][3])


@pytest.mark.parametrize("name", FACTS)
def test_smoke_runs_keep_what_is_trained_and_shrink_the_rest(name: str) -> None:
    full, small = read(name), read(name).shrunk()
    assert small.smoke
    for part in ("threats", "objective", "starts", "seed"):
        assert getattr(small, part) == getattr(full, part)
    assert (small.data.shape, small.data.classes, small.data.crop) == ((3, 32, 32), 10, 4)
    assert small.optimizer.rate == full.optimizer.rate
    for field in ("kind", "warmup", "factor"):
        assert getattr(small.schedule, field) == getattr(full.schedule, field)
    assert small.schedule.milestones == ((2, 3) if full.schedule.milestones else ())
    assert small.schedule.epochs == (4 if full.schedule.milestones else 2)
    assert (small.attack is None) == (full.attack is None)
    if small.attack is not None and full.attack is not None:
        assert small.attack.model_copy(update={"steps": full.attack.steps}) == full.attack
    assert resolve([], small) == small


def test_recipes_are_found_by_name_with_or_without_their_folder(tmp_path: Path) -> None:
    assert find_recipe("linf-scratch") == find_recipe("cifar10/linf-scratch")
    own = tmp_path / "mine.toml"
    own.write_bytes(RECIPES["cifar10/linf-scratch"].read_bytes())
    assert find_recipe(str(own)) == ("mine", own)
    with pytest.raises(UnknownName, match="did you mean 'linf-scratch'"):
        find_recipe("linf-scrath")
    with pytest.raises(UnknownName, match="did you mean 'cifar10/max-finetune'"):
        find_recipe("cifar10/max-finetun")
    with pytest.raises(BadInput, match=r"did you mean .*mine\.toml"):
        find_recipe(str(tmp_path / "mien.toml"))


ADAMW = [
    *('optimizer.name="adamw"', "optimizer.betas=[0.9, 0.95]", "optimizer.spare_norms=true"),
    *("optimizer.rate=1e-4", "optimizer.rate_images=256", "optimizer.batch_size=4096"),
]


def test_an_optimizer_has_its_own_settings_and_a_rate_for_its_batch() -> None:
    content = read("linf-scratch").model_dump()
    del content["optimizer"]["momentum"]
    spec = read_spec(with_settings(content, ADAMW, RecipeSpec), RecipeSpec)
    settings = settings_from(spec)
    assert (settings.optimizer, settings.betas, settings.spare_norms) == ("adamw", (0.9, 0.95), True)
    assert settings.rate == pytest.approx(1e-4 * 4096 / 256)
    assert settings_from(read("linf-scratch")).rate == 0.1
    assert settings_from(read("linf-scratch")).optimizer == "sgd"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (ADAMW, "settings of optimizer: momentum=0.9 with name='adamw': leave it out"),
        (['optimizer.name="adamw"'], "settings of optimizer: betas is missing, which name='adamw' wants"),
        (["optimizer.betas=[0.9, 0.95]"], r"betas=\(0.9, 0.95\) with name='sgd': leave it out"),
        (['optimizer.name="adam"'], "setting optimizer.name='adam'"),
    ],
)
def test_settings_of_another_optimizer_are_refused(settings: list[str], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        resolve(settings, read("linf-scratch"))


def test_the_steps_of_an_attack_may_differ_by_norm() -> None:
    spec = resolve(["attack.steps_by_norm={l1 = 20}", "attack.steps=2"], read("sat-finetune"))
    assert spec.attack is not None
    assert (spec.attack.steps, spec.attack.steps_by_norm) == (2, {"l1": 20})
    check_recipe(spec)
    small = spec.shrunk().attack
    assert small is not None
    assert (small.steps, small.steps_by_norm) == (2, {"l1": 2})
    with pytest.raises(BadInput, match=r"attack\.steps_by_norm"):
        resolve(["attack.steps_by_norm={l3 = 20}"], spec)
    with pytest.raises(BadInput, match=r"attack\.steps_by_norm\.l1=0"):
        resolve(["attack.steps_by_norm={l1 = 0}"], spec)


AUGMENT = [
    *(
        "augment.resized_crop=[0.08, 1.0]",
        "augment.randaugment={layers=2, magnitude=9, probability=0.5}",
        "data.crop=0",
    ),
    *("augment.mixup=0.8", "augment.cutmix=1.0", "augment.smoothing=0.1"),
]


def test_views_and_mixtures_of_a_recipe_are_those_of_the_training() -> None:
    settings = settings_from(resolve(AUGMENT, read("linf-scratch")))
    assert settings.view == PhotoView((32, 32), (0.08, 1.0), True, RandAugment(2, 9, 0.5))
    assert settings.mixture == Mixture(0.8, 1.0, 0.1)
    assert not settings.flips
    plain = settings_from(read("linf-scratch"))
    assert (plain.view, plain.crop, plain.flips, plain.mixture) == (None, 4, True, Mixture())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (AUGMENT[:2], r"data.crop=4 and augment.resized_crop=\(0.08, 1.0\): choose one of them"),
        ([AUGMENT[1]], "settings of augment: randaugment without resized_crop: give the range of the crops"),
        (["augment.resized_crop=[1.0, 0.5]", "data.crop=0"], "expected two rising shares above 0"),
        (["augment.smoothing=1"], r"setting augment.smoothing=1"),
        (["augment.mixup=-1"], r"setting augment.mixup=-1"),
    ],
)
def test_impossible_views_and_mixtures_are_refused(settings: list[str], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        resolve(settings, read("linf-scratch"))


@pytest.mark.parametrize(
    ("accumulate", "words"),
    [
        (3, "set batch_size to 126 or 129, or accumulate to 2"),
        (100, "set batch_size to 100 or 200, or accumulate to 64"),
    ],
)
def test_parts_divide_the_batch(accumulate: int, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        check_recipe(resolve([f"optimizer.accumulate={accumulate}"], read("linf-scratch")))


def changed(tmp_path: Path, old: str, new: str) -> Path:
    text = RECIPES["cifar10/linf-scratch"].read_text()
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("batch_size", "batchsize", "unknown setting 'optimizer.batchsize': did you mean 'optimizer.batch_size'"),
        ("[attack]", "[atack]", "unknown setting 'atack.steps': did you mean 'attack.steps'"),
        ("epochs = 200\n", "", "setting schedule.epochs is missing"),
        ("rate = 0.1", "rate = -1", "setting optimizer.rate=-1"),
        ('"linf:8/255"', '"linv:8/255"', "did you mean 'linf'"),
        ('kind = "step"', 'kind = "stairs"', "setting schedule.kind='stairs'"),
        ("rate = 0.1", "rate = ", "is no TOML"),
    ],
)
def test_wrong_files_are_named_with_what_is_wrong(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = changed(tmp_path, old, new)
    with pytest.raises(BadInput) as caught:
        read_recipe_file(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_all_that_is_wrong_is_listed_together(tmp_path: Path) -> None:
    path = changed(tmp_path, "batch_size = 128", "batchsize = 128\nrates = 3")
    with pytest.raises(BadInput) as caught:
        read_recipe_file(path)
    for words in ("optimizer.batchsize", "optimizer.rates", "optimizer.batch_size is missing"):
        assert words in str(caught.value)


def test_settings_reach_sections_that_were_left_out_and_options() -> None:
    spec = resolve(["attack.steps=3", "network.options.width=8"], read("linf-to-nominal"))
    assert spec.attack is not None
    assert spec.attack.steps == 3
    assert spec.network.options == {"width": 8}
    with pytest.raises(BadInput, match="objective 'nominal' with an attack"):
        check_recipe(spec)
    with pytest.raises(UnknownName, match=r"did you mean 'optimizer\.rate'"):
        resolve(["optimizer.rte=1"], spec)
    with pytest.raises(BadInput, match=r"'seed\.x=1': seed holds a value and no further settings"):
        resolve(["seed.x=1"], spec)


# ---- stages


STAGES = [("nominal", 3, 1.0), ("adversarial", 2, 0.5), ("adversarial", 15, 1.0)]


def linf() -> RecipeSpec:
    return read_recipe_file(RECIPES["digits/linf"])


def test_stages_follow_one_another_and_make_the_epochs() -> None:
    spec = linf()
    assert [(stage.objective, stage.epochs, stage.radius) for stage in spec.stages] == STAGES
    assert spec.schedule.epochs == 20
    assert len(check_recipe(spec)[0]) == 20


@pytest.mark.parametrize("epochs", [19, 21])
def test_stages_that_do_not_make_the_epochs_are_refused(epochs: int) -> None:
    with pytest.raises(BadInput, match=rf"schedule.epochs={epochs}, .* have 3 \+ 2 \+ 15 epochs: expected their sum"):
        resolve([f"schedule.epochs={epochs}"], linf())


def test_a_recipe_without_stages_is_one_stage_of_its_objective_at_the_full_radius() -> None:
    spec = read("max-finetune")
    assert spec.schedule.stages == ()
    (stage,) = spec.stages
    assert (stage.objective, stage.epochs, stage.radius) == ("max", 10, 1.0)


def test_a_smoke_run_has_every_stage_for_an_epoch() -> None:
    small = linf().shrunk()
    assert [(stage.objective, stage.radius) for stage in small.stages] == [(each[0], each[2]) for each in STAGES]
    assert [stage.epochs for stage in small.stages] == [1, 1, 1]
    assert small.schedule.epochs == 3
    assert resolve([], small) == small
    check_recipe(small)


def test_milestones_of_a_smoke_run_lie_among_its_stages() -> None:
    stepped = resolve(['schedule.kind="step"', "schedule.milestones=[10, 15]"], linf())
    schedule = stepped.shrunk().schedule
    # Half and three quarters of 20 epochs, of 3 epochs.
    assert (schedule.epochs, schedule.milestones) == (3, (2, 2))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ('schedule.stages=[{epochs=20, objective="nominal", radius=0}]', r"schedule\.stages\.0\.radius=0"),
        ('schedule.stages=[{epochs=20, objective="nominal", radius=1.5}]', r"schedule\.stages\.0\.radius=1\.5"),
        ('schedule.stages=[{epochs=20, objective="nominal", radus=1}]', "did you mean 'schedule.stages.0.radius'"),
        ("schedule.stages=[{epochs=20}]", r"schedule\.stages\.0\.objective is missing"),
    ],
)
def test_impossible_stages_are_refused(settings: str, words: str) -> None:
    with pytest.raises((BadInput, UnknownName), match=words):
        resolve([settings], linf())


def test_an_unknown_objective_of_a_stage_is_named() -> None:
    spec = resolve(['schedule.stages=[{epochs=20, objective="adversary"}]'], linf())
    with pytest.raises(UnknownName, match="'adversary': did you mean 'adversarial'"):
        check_recipe(spec)
