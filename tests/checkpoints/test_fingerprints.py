"""Fingerprints: of every bit, in any order, in the same read as the mixing; remembered only while files stay."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from blake3 import blake3
from torch import Tensor

from seasoning.checkpoints import remembered
from seasoning.checkpoints.fingerprints import RunningFingerprint, fingerprint, sha256_fingerprint
from seasoning.checkpoints.load import read_metadata, save_state
from seasoning.checkpoints.provenance import soup_metadata
from seasoning.checkpoints.save import as_bytes
from seasoning.soup.mix import mix
from seasoning.soup.mix_files import mix_files
from seasoning.soup.open_files import OpenIngredient
from seasoning.soup.verify import verify_soup


def state(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    large = torch.randn(1000, 700, generator=generator)  # more than a piece
    made = {"large": large, "b": torch.randn(3, 4, generator=generator), "empty": torch.zeros(0, 3)}
    return made | {"norm.num_batches_tracked": torch.tensor(seed), "half": torch.randn(9, generator=generator).half()}


def saved(folder: Path, count: int = 2) -> list[Path]:
    paths = [folder / f"{seed}.safetensors" for seed in range(count)]
    for seed, path in enumerate(paths):
        save_state(state(seed), path, {})
        os.utime(path, (1e9, 1e9))
    return paths


def marks(soup: Path) -> list[str]:
    found: list[str] = json.loads(read_metadata(soup)["seasoning.soup"])["ingredients"]
    return found


def test_a_fingerprint_is_that_of_its_definition() -> None:
    given = {"b": torch.tensor([1, 2], dtype=torch.int16), "a": torch.tensor(0.5)}
    lines = [f"a torch.float32 () {blake3(bytes.fromhex('0000003f')).hexdigest()}"]
    lines += [f"b torch.int16 (2,) {blake3(bytes([1, 0, 2, 0])).hexdigest()}"]
    assert fingerprint(given) == "blake3:" + blake3("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def test_runs_in_any_order_give_the_same_and_what_does_not_go_on_is_asked_for_again() -> None:
    given = state(0)
    running = RunningFingerprint(given)
    content = as_bytes(given["large"])
    running.update("large", 0, content[:1000])
    running.update("b", 0, as_bytes(given["b"]))
    running.update("large", 5000, content[5000:])  # a gap
    running.update("large", 0, content[:1000])  # the same once more
    assert dict(running.missing())["large"] == 1000
    for name, begin in list(running.missing()):
        running.update(name, begin, as_bytes(given[name])[begin:])
    assert running.finished() == fingerprint(given)


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.0, 1.0), (1.0, 0.0)])
def test_mixing_reads_every_byte_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: tuple[float, ...]
) -> None:
    paths, read = saved(tmp_path), dict[str, int]()
    fill = OpenIngredient._fill

    def counted(self: OpenIngredient, file: object, offset: int, into: memoryview) -> None:
        read[self.name] = read.get(self.name, 0) + len(into)
        fill(self, file, offset, into)  # type: ignore[arg-type]

    monkeypatch.setattr(OpenIngredient, "_fill", counted)
    soup = mix_files(paths, weights, tmp_path / "soup.safetensors")
    assert marks(soup) == [fingerprint(state(0)), fingerprint(state(1))]
    size = sum(tensor.nbytes for tensor in state(0).values())
    assert sorted(read.values()) == [size, size]


def test_unchanged_files_are_not_hashed_again_and_changed_ones_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, hashed = saved(tmp_path), list[str]()
    begin = OpenIngredient.hash_reads

    def noted(self: OpenIngredient) -> None:
        hashed.append(Path(self.name).name)
        begin(self)

    monkeypatch.setattr(OpenIngredient, "hash_reads", noted)
    first = marks(mix_files(paths, (0.5, 0.5), tmp_path / "first.safetensors"))
    assert hashed == ["0.safetensors", "1.safetensors"]
    assert marks(mix_files(paths, (0.4, 0.6), tmp_path / "second.safetensors")) == first
    assert len(hashed) == 2
    save_state(state(7), paths[1], {})
    os.utime(paths[1], (1e9, 1e9))  # the same path, size and time, but another file on the disk
    third = mix_files(paths, (0.4, 0.6), tmp_path / "third.safetensors")
    assert marks(third) == [first[0], fingerprint(state(7))]
    assert hashed[2:] == ["1.safetensors"]


def test_a_file_that_changed_a_moment_ago_is_not_remembered(tmp_path: Path) -> None:
    (path,) = saved(tmp_path, 1)
    assert remembered.identity_of([path], None) is not None
    path.touch()
    assert remembered.identity_of([path], None) is None


def test_without_a_cache_everything_is_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    soup = mix_files(saved(tmp_path), (0.5, 0.5), tmp_path / "soup.safetensors")
    assert marks(soup) == [fingerprint(state(0)), fingerprint(state(1))]


def test_verification_asks_no_cache(tmp_path: Path) -> None:
    paths = saved(tmp_path)
    soup = mix_files(paths, (0.5, 0.5), tmp_path / "soup.safetensors")
    stat = paths[1].stat()
    with paths[1].open("r+b") as file:  # in place, so that it looks the same from outside
        file.seek(-3, os.SEEK_END)
        file.write(b"\x01")
    os.utime(paths[1], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (problem,) = verify_soup(soup, paths).problems
    assert "1.safetensors is not ingredient 2 of its provenance" in problem


def test_soups_of_earlier_versions_are_verified(tmp_path: Path) -> None:
    def earlier(given: dict[str, Tensor]) -> str:
        def parts(name: str) -> Iterable[memoryview]:
            return [as_bytes(given[name])]

        return sha256_fingerprint(given, parts)

    paths, soup = saved(tmp_path), tmp_path / "soup.safetensors"
    metadata = soup_metadata([earlier(state(0)), earlier(state(1))], (0.5, 0.5))
    save_state(mix([state(0), state(1)], (0.5, 0.5)), soup, metadata)
    assert verify_soup(soup, paths) == ([], [])
    (problem, *_) = verify_soup(soup, paths[::-1]).problems
    assert "is not ingredient 1 of its provenance" in problem
