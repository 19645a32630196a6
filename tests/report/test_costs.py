from pathlib import Path

from seasoning.config.run_record import read_record
from seasoning.report import Results
from seasoning.report.costs import cost_tables, joint_training, spent
from seasoning.store.database import Store
from tests.report.runs import Made, add, made_run, random_right


def test_costs_add_up(tmp_path: Path) -> None:
    made = Results(Store(made_run(tmp_path, ingredients=4)))
    stages = spent(made)
    assert sum(each.gradients for each in stages.values()) == 10 * len(made.blocks)
    assert {asked.data.split("/")[1] for asked, _ in made.blocks} == {"selection", "test"}
    assert joint_training(made) is None
    rows = cost_tables(made)[0].rows
    assert rows[0] == ["training m0", *["not recorded"] * 3]
    assert len(cost_tables(made)) == 1


def test_screening_costs_what_it_cost(tmp_path: Path) -> None:
    path = made_run(tmp_path, grid=2)
    before = spent(Results(Store(path)))["selection"]
    with Store(path) as store:
        record = read_record(store)
        assert record is not None
        made = Made(store, record, random_right)
        add(made, (0.3, 0.7, 0.0), "selection", "made@l2:0.5", attack="fewer steps", precision="bf16")
        add(made, (0.3, 0.7, 0.0), "selection", "made", rows=5)
        # Another search in the folder.
        add(made, (0.3, 0.7, 0.0), "selection", "made", samples="other images")
        add(made, (0.3, 0.7, 0.0), "selection", "made", smoke=True)
        after = spent(Results(store))["selection"]
    assert (after.gradients - before.gradients, after.forwards - before.forwards) == (20, 40)


def test_soups_are_weighed_against_joint_trainings(tmp_path: Path) -> None:
    results = Results(Store(made_run(tmp_path, gradients=1000)))
    # Three robust ingredients, the first of them the base: two fine-tunes, and the base's own threat as long.
    assert joint_training(results) == 3000
    table = cost_tables(results)[1]
    searched = spent(results)["selection"].gradients
    assert table.rows[0][1:3] == [f"{3000 + searched:,}", "4,000"]
    assert table.rows[2][2] == "31,000"
