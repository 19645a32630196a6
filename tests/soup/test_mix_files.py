import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

import seasoning
from seasoning.checkpoints.constants import Constants
from seasoning.checkpoints.fingerprints import fingerprint
from seasoning.checkpoints.load import load_ingredient, read_metadata, save_state
from seasoning.checkpoints.provenance import soup_metadata
from seasoning.errors import BadInput, Mismatch, SeasoningError
from seasoning.soup.mix import mix
from seasoning.soup.mix_files import mix_files
from seasoning.soup.open_files import OpenIngredient
from seasoning.soup.verify import verify_soup


FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
WEIGHTS = [(0.1, 0.2, 0.7), (1.2, -0.1, -0.1), (0.0, 1.0, 0.0), (0.5, 0.0, 0.5)]
FORMS = ("safetensors", "zip", "legacy")


def state(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """A network's worth of tensors of odd sizes, integer buffers among them, one that is strided."""
    generator = torch.Generator().manual_seed(seed)
    made = {
        "conv.weight": torch.randn(5, 3, 3, 3, generator=generator),
        "norm.running_var": torch.rand(5, generator=generator) + 0.5,
        "scalar": torch.randn((), generator=generator),
        "turned": torch.randn(11, 7, generator=generator).t(),
        "empty": torch.zeros(0, 3),
    }
    integers = {"norm.num_batches_tracked": torch.tensor(17 + seed), "table": torch.arange(9)}
    return {name: tensor.to(dtype) for name, tensor in made.items()} | integers


def write(content: Mapping[str, Tensor], path: Path, form: str = "safetensors") -> Path:
    if form == "safetensors":
        save_state(content, path, {})
    else:
        nested = {"state_dict": {f"module.{name}": tensor for name, tensor in content.items()}}
        torch.save(nested, path, _use_new_zipfile_serialization=form == "zip")
    return path


def written(folder: Path, count: int = 3, dtype: torch.dtype = torch.float32, form: str = "safetensors") -> list[Path]:
    return [write(state(seed, dtype), folder / f"{seed}.file", form) for seed in range(count)]


def assert_same_bits(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    assert sorted(one) == sorted(other)
    for name in one:
        assert (one[name].dtype, one[name].shape) == (other[name].dtype, other[name].shape)
        a, b = (each[name].contiguous().reshape(-1).view(torch.uint8) for each in (one, other))
        assert torch.equal(a, b), name


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def in_pieces_of(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    for name in ("mix", "mix_files"):
        # Where the package offers a function, it hides the module of its name.
        monkeypatch.setattr(importlib.import_module(f"seasoning.soup.{name}"), "PIECE", size)


CASES = [("safetensors", dtype, weights) for dtype in FLOATS for weights in WEIGHTS]
CASES += [(form, torch.bfloat16, WEIGHTS[1]) for form in FORMS[1:]]


@pytest.mark.parametrize(("form", "dtype", "weights"), CASES)
@pytest.mark.parametrize(("policy", "size"), [("mix", 10), ("mix", 64), ("geometric", 3), ("mix", 2**17)])
def test_files_mix_to_the_bits_of_states(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    dtype: torch.dtype,
    weights: tuple[float, ...],
    policy: str,
    size: int,
) -> None:
    paths = written(tmp_path, dtype=dtype, form=form)
    expected = mix([state(seed, dtype) for seed in range(3)], weights, policy=policy)
    in_pieces_of(monkeypatch, size)
    out = mix_files(paths, weights, tmp_path / "soup.safetensors", policy=policy)
    assert_same_bits(load_ingredient(out), expected)
    assert verify_soup(out, paths) == ([], [])


def test_forms_of_files_can_be_mixed(tmp_path: Path) -> None:
    paths = [write(state(seed), tmp_path / f"{seed}.file", form) for seed, form in enumerate(FORMS)]
    before = listing(tmp_path)
    out = mix_files(paths, WEIGHTS[0], tmp_path / "soup.safetensors")
    assert_same_bits(load_ingredient(out), mix([state(seed) for seed in range(3)], WEIGHTS[0]))
    after = listing(tmp_path)
    assert set(after) == {*before, "soup.safetensors"}
    assert all(after[name] == content for name, content in before.items())


def test_one_hot_weights_return_the_file(tmp_path: Path) -> None:
    paths = written(tmp_path)
    out = mix_files(paths, (0.0, 1.0, 0.0), tmp_path / "soup.safetensors")
    largest = {"norm.num_batches_tracked": torch.tensor(19)}
    assert fingerprint(load_ingredient(out)) == fingerprint(state(1) | largest)


def test_the_provenance_is_in_the_file(tmp_path: Path) -> None:
    paths = written(tmp_path)
    out = mix_files(paths, WEIGHTS[0], tmp_path / "new" / "soup.safetensors", policy="geometric")
    assert json.loads(read_metadata(out)["seasoning.soup"]) == {
        "ingredients": [fingerprint(state(seed)) for seed in range(3)],
        "weights": [0.1, 0.2, 0.7],
        "policy": "geometric",
        "versions": {"seasoning": seasoning.__version__, "torch": torch.__version__},
    }
    again = mix_files(paths, WEIGHTS[0], tmp_path / "again.safetensors", policy="geometric")
    assert again.read_bytes() == out.read_bytes()


def test_a_soup_of_timm_models_loads_in_timm(tmp_path: Path) -> None:
    torch.manual_seed(0)
    networks = [timm.create_model("resnet10t", num_classes=3) for _ in range(2)]
    paths = [write(each.state_dict(), tmp_path / f"{place}.pt", "zip") for place, each in enumerate(networks)]
    out = mix_files(paths, (0.25, 0.75), tmp_path / "soup.safetensors")
    soup = timm.create_model("resnet10t", num_classes=3, checkpoint_path=str(out))
    assert_same_bits(soup.state_dict(), mix([each.state_dict() for each in networks], (0.25, 0.75)))


def test_pretrained_models_are_ingredients(tmp_path: Path) -> None:
    network = timm.create_model("resnet10t", num_classes=3)
    timm.models.save_for_hf(network, tmp_path / "hub", model_config={"num_classes": 3}, safe_serialization=True)
    other = write({name: tensor * 2 for name, tensor in network.state_dict().items()}, tmp_path / "a.pt", "zip")
    before = listing(tmp_path / "hub")
    out = mix_files([f"local-dir:{tmp_path / 'hub'}", other], (1.0, 0.0), tmp_path / "soup.safetensors")
    counters = {name: tensor * 2 for name, tensor in network.state_dict().items() if "num_batches" in name}
    assert_same_bits(load_ingredient(out), network.state_dict() | counters)
    assert listing(tmp_path / "hub") == before


CONSTANTS = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}


def told(key: str, constants: Mapping[str, list[float]]) -> dict[str, str]:
    if key == "plain":
        return {name: json.dumps(values) for name, values in constants.items()}
    return {key: json.dumps({"name": "linf", **constants})}


@pytest.mark.parametrize("key", ["seasoning.ingredient", "seasoning.soup", "plain"])
def test_constants_of_normalization_are_kept(tmp_path: Path, key: str) -> None:
    rounded = {"mean": [0.5, 0.4, 0.3001], "std": [0.2]}
    for name, metadata in (("a", told(key, CONSTANTS)), ("b", {}), ("c", told("plain", rounded))):
        save_state(state(0), tmp_path / name, metadata)
    out = mix_files([tmp_path / name for name in "abc"], (0.5, 0.3, 0.2), tmp_path / "soup")
    provenance = json.loads(read_metadata(out)["seasoning.soup"])
    assert {name: provenance[name] for name in CONSTANTS} == CONSTANTS
    assert soup_metadata([], [], constants=Constants((0.5, 0.4, 0.3), (0.2,)))["seasoning.soup"].count("mean") == 1


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            {"mean": [0.5, 0.4, 0.2], "std": [0.2]},
            r"a normalizes images with mean \[0.5, 0.4, 0.3\] and .*b with \[0.5",
        ),
        (
            {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1]},
            r"with std \[0.2, 0.2, 0.2\] and .*b with \[0.2, 0.2, 0.1\]",
        ),
        ({"mean": [0.5, 0.4], "std": [0.2, 0.2]}, r"with mean .* and .*b with \[0.5, 0.4\]"),
    ],
)
def test_differing_constants_are_refused(tmp_path: Path, other: dict[str, list[float]], words: str) -> None:
    save_state(state(0), tmp_path / "a", told("seasoning.ingredient", CONSTANTS))
    save_state(state(1), tmp_path / "b", told("seasoning.soup", other))
    with pytest.raises(Mismatch, match=words):
        mix_files([tmp_path / "a", tmp_path / "b"], (0.5, 0.5), tmp_path / "soup")
    assert sorted(listing(tmp_path)) == ["a", "b"]


def test_constants_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    save_state(state(0), tmp_path / "a", {"mean": "grey", "std": "[1]"})
    with pytest.raises(BadInput, match="metadata on normalization that cannot be read"):
        mix_files([tmp_path / "a"], (1.0,), tmp_path / "soup")


BROKEN: dict[str, tuple[dict[str, Tensor], type[Exception], str]] = {
    "shape": ({"scalar": torch.zeros(2)}, Mismatch, r"'scalar' has shape \(\) in .*0\.file and \(2,\) in .*bad\.file"),
    "type": ({"scalar": torch.zeros(()).long()}, Mismatch, r"float32 in .*0\.file and torch.int64 in .*bad\.file"),
    "extra": ({"head": torch.zeros(2)}, Mismatch, r"'head' of shape \(2,\) is only in .*bad\.file"),
    "integers": ({"table": torch.zeros(9).long()}, Mismatch, r"'table' differs between .*0\.file and .*bad\.file"),
    "nan": ({"turned": torch.full((7, 11), torch.nan)}, BadInput, r"'turned' is not finite in .*bad\.file"),
    "infinite": ({"scalar": torch.tensor(torch.inf)}, BadInput, r"'scalar' is not finite in .*bad\.file"),
    "variance": ({"norm.running_var": -torch.ones(5)}, BadInput, r"running variance 'norm.running_var' negative \(-"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("which", BROKEN)
def test_misfits_name_the_files_and_leave_nothing(tmp_path: Path, which: str, form: str) -> None:
    change, error, words = BROKEN[which]
    paths = [*written(tmp_path, 2, form=form), write(state(2) | change, tmp_path / "bad.file", form)]
    before = listing(tmp_path)
    with pytest.raises(error, match=words):
        mix_files(paths, (0.1, 0.1, 0.8), tmp_path / "soup.safetensors")
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ((0.5, 0.4), r"sum to 0\.9"),
        ((1.0,), "1 weights for 2"),
        ((torch.nan, 1.0), "finite"),
        ((torch.inf, 0), "finite"),
    ],
)
def test_impossible_weights_are_refused(tmp_path: Path, weights: tuple[float, ...], words: str) -> None:
    paths = written(tmp_path, 2)
    before = listing(tmp_path)
    with pytest.raises(BadInput, match=words):
        mix_files(paths, weights, tmp_path / "soup.safetensors")
    assert listing(tmp_path) == before


@pytest.mark.parametrize("form", FORMS)
def test_damaged_files_are_named_and_nothing_is_left(tmp_path: Path, form: str) -> None:
    paths = written(tmp_path, 2, form=form)
    paths[1].write_bytes(paths[1].read_bytes()[:-40])
    before = listing(tmp_path)
    with pytest.raises(BadInput, match=r"1\.file .*damaged"):
        mix_files(paths, (0.5, 0.5), tmp_path / "soup.safetensors")
    assert listing(tmp_path) == before


def test_a_file_that_shrinks_meanwhile_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = written(tmp_path, 2)

    def shrink(ingredient: object) -> None:
        for path in paths:
            os.truncate(path, 900)

    monkeypatch.setattr(OpenIngredient, "hash_reads", shrink)
    with pytest.raises(BadInput, match=r"0\.file became shorter"):
        mix_files(paths, (0.5, 0.5), tmp_path / "soup.safetensors")


def test_what_exists_is_kept_unless_asked_for(tmp_path: Path) -> None:
    paths, out = written(tmp_path, 2), tmp_path / "soup.safetensors"
    out.write_text("precious")
    with pytest.raises(BadInput, match=r"soup\.safetensors exists: choose another name"):
        mix_files(paths, (0.5, 0.5), out)
    assert out.read_text() == "precious"
    mix_files(paths, (0.5, 0.5), out, overwrite=True)
    assert_same_bits(load_ingredient(out), mix([state(0), state(1)], (0.5, 0.5)))


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_ingredient_is_never_overwritten(tmp_path: Path, overwrite: bool) -> None:
    paths = written(tmp_path, 2)
    (tmp_path / "link").symlink_to(paths[1])
    before = listing(tmp_path)
    for out in (paths[1], tmp_path / "link", tmp_path / "." / "1.file"):
        with pytest.raises(BadInput, match="is one of the ingredients"):
            mix_files(paths, (0.5, 0.5), out, overwrite=overwrite)
    assert listing(tmp_path) == before


def test_a_full_disk_is_named_and_the_old_file_kept(small_disk: Path, tmp_path: Path) -> None:
    save_state({"w": torch.zeros(10)}, small_disk / "soup.safetensors", {})
    before = listing(small_disk)
    words = {
        "safetensors": "was not written: it needs 1.0 MiB",
        "legacy": "could not be unpacked to .*disk .No space left",
    }
    for form, message in words.items():
        path = write({"w": torch.ones(2**18)}, tmp_path / f"a.{form}", form)
        with pytest.raises(SeasoningError, match=message):
            mix_files([path], (1.0,), small_disk / "soup.safetensors", overwrite=True)
        assert listing(small_disk) == before


def flipped(path: Path, name: str) -> None:
    """Turn the lowest bit of a tensor's last element."""
    content = bytearray(path.read_bytes())
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    content[8 + length + header[name]["data_offsets"][1] - 4] ^= 1
    path.write_bytes(bytes(content))


def test_a_single_bit_is_seen(tmp_path: Path) -> None:
    paths = written(tmp_path)
    out = mix_files(paths, WEIGHTS[0], tmp_path / "soup.safetensors")
    assert verify_soup(out, paths) == ([], [])
    flipped(out, "turned")
    (problem,), _ = verify_soup(out, paths)
    assert problem.startswith("tensor 'turned' is not what its provenance makes: element 76 is ")
    flipped(out, "conv.weight")
    assert (
        verify_soup(out, paths)
        .problems[0]
        .startswith("tensor 'conv.weight' is not what its provenance makes: element 134")
    )


def test_other_ingredients_are_seen(tmp_path: Path) -> None:
    paths = written(tmp_path)
    out = mix_files(paths, WEIGHTS[0], tmp_path / "soup.safetensors")
    first, second = verify_soup(out, [paths[1], paths[0], paths[2]]).problems
    assert "1.file is not ingredient 1 of its provenance (fingerprint " in first
    assert first.endswith("), but ingredient 2")
    assert second.endswith("), but ingredient 1")
    flipped(paths[2], "turned")
    (problem,) = verify_soup(out, paths).problems
    assert "2.file is not ingredient 3" in problem
    assert problem.endswith(")")
    other = write({"w": torch.zeros(1)}, tmp_path / "other")
    assert "is only in" in verify_soup(out, [paths[0], paths[1], other]).problems[0]
    with pytest.raises(BadInput, match="is a soup of 3 ingredients, given: 2"):
        verify_soup(out, paths[:2])


def rewritten(path: Path, **changes: object) -> None:
    content = {name: tensor.clone() for name, tensor in load_ingredient(path).items()}
    provenance = json.loads(read_metadata(path)["seasoning.soup"]) | changes
    save_state(content, path, {"seasoning.soup": json.dumps(provenance)})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": [0.2, 0.1, 0.7]}, "tensor 'conv.weight' is not what its provenance makes: element 0 is"),
        ({"weights": [0.1, 0.2, 0.8]}, r"the provenance cannot be followed: weights .* sum to 1\.1"),
        ({"weights": [0.1, 0.9]}, "the provenance cannot be followed: 2 weights for 3"),
        ({"policy": "geometric"}, "tensor 'norm.running_var' is not what its provenance makes"),
        ({"policy": "harmonic"}, "the provenance cannot be followed: unknown batch-norm policy"),
    ],
)
def test_a_changed_provenance_is_seen(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    paths = written(tmp_path)
    out = mix_files(paths, WEIGHTS[0], tmp_path / "soup.safetensors")
    rewritten(out)
    assert verify_soup(out, paths) == ([], [])
    rewritten(out, **changes)
    (problem,) = verify_soup(out, paths).problems
    assert pytest.raises(AssertionError, match=words).matches(AssertionError(problem))


def test_added_tensors_are_seen(tmp_path: Path) -> None:
    paths = written(tmp_path)
    out = mix_files(paths, WEIGHTS[0], tmp_path / "soup.safetensors")
    content = {name: tensor.clone() for name, tensor in load_ingredient(out).items()}
    save_state(content | {"extra": torch.zeros(1)}, out, read_metadata(out))
    assert "'extra' of shape (1,) is only in" in verify_soup(out, paths).problems[0]


def test_measured_statistics_are_not_rebuilt(tmp_path: Path) -> None:
    paths = written(tmp_path)
    soup = mix([state(seed) for seed in range(3)], WEIGHTS[0]) | {"norm.running_var": torch.ones(5)}
    metadata = soup_metadata([fingerprint(state(seed)) for seed in range(3)], WEIGHTS[0], policy="clean")
    save_state(soup, tmp_path / "soup", metadata)
    found = verify_soup(tmp_path / "soup", paths)
    assert found == ([], ["norm.num_batches_tracked", "norm.running_var"])
    flipped(tmp_path / "soup", "turned")
    assert "'turned' is not what" in verify_soup(tmp_path / "soup", paths).problems[0]


def test_files_without_a_provenance_are_refused(tmp_path: Path) -> None:
    paths = written(tmp_path, 1)
    with pytest.raises(BadInput, match="holds no provenance"):
        verify_soup(paths[0], paths)
    for provenance in ("nonsense", "[]", '{"weights": [1]}'):
        save_state(state(0), tmp_path / "soup", {"seasoning.soup": provenance})
        with pytest.raises(BadInput, match="holds a provenance that cannot be read"):
            verify_soup(tmp_path / "soup", paths)
    with pytest.raises(BadInput, match="no checkpoint at"):
        verify_soup(tmp_path / "absent", paths)


PEAK = """
import sys
from pathlib import Path
from seasoning.soup.mix_files import mix_files
import torch
torch.set_num_threads(1)

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

small, out, *paths = sys.argv[1:]
# What the first soup of a process loads of the libraries is not its memory.
mix_files([small], [1.0], out + ".small")
Path("/proc/self/clear_refs").write_text("5")
before = peak()
mix_files(paths, [1 / len(paths)] * len(paths), out)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak as Linux tells it")
@pytest.mark.parametrize("form", ["safetensors", "zip"])
def test_memory_does_not_grow_with_the_ingredients(tmp_path: Path, form: str) -> None:
    # 24 MiB a model, in tensors of 2 MiB.
    content = {f"layer{place}.weight": torch.full((2**19,), float(place)) for place in range(12)}
    one = write(content, tmp_path / "0.file", form)
    for place in range(1, 12):
        (tmp_path / f"{place}.file").hardlink_to(one)
    paths = [str(tmp_path / f"{place}.file") for place in range(12)]
    small = write({"w": torch.ones(3)}, tmp_path / "small", form)
    command = [sys.executable, "-c", PEAK, str(small), str(tmp_path / "soup"), *paths]
    growth = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert growth < 16
