import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor

from seasoning.checkpoints.fingerprints import fingerprint
from seasoning.checkpoints.load import TensorBytes, locate, read_metadata
from seasoning.checkpoints.save import save_state, write_state, written_order
from seasoning.errors import SeasoningError


STATE = {"conv.weight": torch.arange(6.0).view(2, 3), "norm.count": torch.tensor(3), "half": torch.ones(2).bfloat16()}


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    save_state(STATE, tmp_path / "a.safetensors", {})
    before = (tmp_path / "a.safetensors").read_bytes()
    with pytest.raises((TypeError, ValueError)):
        save_state(STATE, tmp_path / "a.safetensors", {"note": 3})  # type: ignore[dict-item]
    assert (tmp_path / "a.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
]


def test_all_types_and_forms_are_read_by_safetensors(tmp_path: Path) -> None:
    state = {str(dtype): torch.tensor([0, 1, 1, 0, 1]).to(dtype) for dtype in DTYPES}
    state |= {
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "transposed": torch.arange(6.0).view(2, 3).t(),
        "strided": torch.arange(10.0)[::2],
        "channels last": torch.arange(24.0).view(1, 2, 3, 4).contiguous(memory_format=torch.channels_last),
        "grad ü": torch.ones(3, requires_grad=True),
    }
    save_state(state, tmp_path / "a.safetensors", {"note": "ü"})
    found = load_file(tmp_path / "a.safetensors")
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert found[name].tolist() == tensor.tolist()
    assert read_metadata(tmp_path / "a.safetensors") == {"note": "ü"}
    for each in locate(tmp_path / "a.safetensors").values():
        assert isinstance(each, TensorBytes)
        assert each.offset % each.dtype.itemsize == 0


def test_timm_reads_what_is_written(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model("resnet10t", num_classes=3)
    save_state(network.state_dict(), tmp_path / "a.safetensors", {"note": "x"})
    loaded = timm.create_model("resnet10t", num_classes=3, checkpoint_path=str(tmp_path / "a.safetensors"))
    assert fingerprint(loaded.state_dict()) == fingerprint(network.state_dict())


def test_parts_are_written_before_the_next_is_asked_for(tmp_path: Path) -> None:
    like = {name: torch.empty(4, device="meta") for name in ("b", "a")}
    memory = torch.empty(2)

    def parts() -> Iterator[Tensor]:
        for value in range(4):
            yield memory.fill_(value)

    assert written_order(like) == ["a", "b"]
    write_state(like, parts(), tmp_path / "a.safetensors", {})
    found = load_file(tmp_path / "a.safetensors")
    assert found["a"].tolist() == [0, 0, 1, 1]
    assert found["b"].tolist() == [2, 2, 3, 3]


@pytest.mark.parametrize(
    ("like", "parts", "words"),
    [
        ({"a": torch.zeros(2)}, [torch.zeros(1)], "4 bytes for tensors of 8"),
        ({"a": torch.zeros(2, dtype=torch.complex64)}, [], "'a' is of type torch.complex64: expected one of"),
    ],
)
def test_what_cannot_be_written_is_refused(
    tmp_path: Path, like: dict[str, Tensor], parts: list[Tensor], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        write_state(like, parts, tmp_path / "a.safetensors", {})
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named_and_nothing_is_left(small_disk: Path) -> None:
    path = small_disk / "a.safetensors"
    save_state({"w": torch.zeros(10)}, path, {})
    with pytest.raises(SeasoningError, match=r"a\.safetensors was not written: it needs 4\.0 MiB and .* has 0\.2 MiB"):
        save_state({"w": torch.zeros(2**20)}, path, {})
    assert list(small_disk.iterdir()) == [path]
    assert len(load_file(path)["w"]) == 10


def test_a_limit_on_files_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    try:
        with pytest.raises(
            SeasoningError, match=r"it needs 4\.0 MiB, more than a file may have there: raise the limit"
        ):
            save_state({"w": torch.zeros(2**20)}, tmp_path / "a.safetensors", {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("")
    with pytest.raises(SeasoningError, match=r"folder/a\.safetensors was not written \(.*\): check the folder"):
        save_state(STATE, tmp_path / "folder" / "a.safetensors", {})
