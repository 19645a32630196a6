"""The names that the command line knows without torch are those of the tables."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from seasoning.attacks.apgd import PRECISIONS
from seasoning.attacks.suites import SUITES
from seasoning.cli.names import NAMES, require_data, require_names
from seasoning.data.catalogue import FACTS
from seasoning.data.open import TRANSFORMS
from seasoning.data.shifts import SHIFTS
from seasoning.data.sources import SOURCES, SPLITS
from seasoning.errors import UnknownName
from seasoning.noise import CORRUPTIONS
from seasoning.soup.batch_norm import POLICIES
from seasoning.soup.weights import _WAYS
from seasoning.strategies import STRATEGIES


TABLES: dict[str, Iterable[str]] = {
    "attack suite": SUITES,
    "precision": PRECISIONS,
    "batch-norm policy": POLICIES,
    "way to mix": _WAYS,
    "split": SPLITS,
    "transform": TRANSFORMS,
    "source": SOURCES,
    "data set": FACTS,
    "corruption": CORRUPTIONS,
    "shift": SHIFTS,
    "strategy": STRATEGIES,
}


def test_names_are_those_of_the_tables() -> None:
    assert {kind: tuple(table) for kind, table in TABLES.items()} == NAMES


def test_unknown_names_come_with_the_nearest() -> None:
    require_names("attack suite", ["strong", None])
    with pytest.raises(UnknownName, match="unknown batch-norm policy 'clen': did you mean 'clean'"):
        require_names("batch-norm policy", ["mix", "clen"])


def test_data_may_be_anywhere(tmp_path: Path) -> None:
    (tmp_path / "pets").mkdir()
    require_data(["digits", str(tmp_path / "pets"), "imagenet-real=nowhere yet"])
    require_data(["pets"], tmp_path)
    with pytest.raises(UnknownName, match="unknown data set 'digts': did you mean 'digits'"):
        require_data(["digts"])
    with pytest.raises(UnknownName, match="unknown data set 'imagnet': did you mean 'imagenet'"):
        require_data(["imagnet=images"])


INGREDIENTS = ["--ingredient", "a=a", "--ingredient", "b=b"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "x.pt", "--arch", "resnet18", "--suite", "defualt"],
        ["evaluate", "x.pt", "--arch", "resnet18", "--data", "digts"],
        ["evaluate", "x.pt", "--arch", "resnet18", "--precision", "bf1"],
        ["evaluate", "x.pt", "--arch", "resnet18", "--split", "tset"],
        ["evaluate", "x.pt", "--arch", "resnet18", "--threat", "linff:1"],
        ["mix", "a", "b", "--weights", "unifrom", "--out", "c"],
        ["mix", "a", "b", "--weights", "0.5,0.5", "--batch-norm", "mxi", "--out", "c"],
        ["check", "a", "b", "--arch", "resnet18", "--data", "digts"],
        ["search", "--strategy", "clmib", "--ingredient", "a=a", "--data", "digits"],
        ["search", "--shift", "niose", "--ingredient", "a=a", "--data", "digits"],
        ["search", "--set", "attack.suite=defualt", "--arch", "x", "--data", "digits", *INGREDIENTS],
        ["corrupt", "--data", "x", "--out", "y", "--corruptions", "fogg"],
        ["data", "check", "x", "--kind", "imagenet-z"],
    ],
)
def test_names_are_told_without_torch(arguments: list[str]) -> None:
    probe = (
        "import sys\nfrom seasoning.cli import main\nsys.argv = ['seasoning', *sys.argv[1:]]\n"
        "try:\n    main()\nfinally:\n    assert 'torch' not in sys.modules and 'timm' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", probe, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "did you mean" in done.stderr
    assert "Traceback" not in done.stderr
