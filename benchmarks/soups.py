"""Time and memory of one soup from K checkpoints on disk, here and as others mix, against reading every byte once.

Every contender reads K files and writes one, each time in a process of its own that has imported the libraries and done
nothing else (a fork); rounds are interleaved (A B C A B C …), the fastest counts. CPU time, one torch thread, files in
the system's cache. The peak is the growth of the resident size over what the process had after its imports. The files
are of real architectures with random parameters; above ten, they are hard links to ten.

    python -m benchmarks.soups --models resnet50 --counts 2 4 10 50

- *model-soups*: `torch.load` of each whole file, a dictionary of tensor times weight, summed (the `main.py` of
  mlfoundations/model-soups). It reads PyTorch files; for safetensors, its arithmetic on `load_file` is given beside it.
- *timm*: sums in float64 over whole loaded files, one after the other, then one division (timm, `avg_checkpoints.py`).
- *search*: the ingredients stay in memory, and soup after soup is put into a live model; rounds in one process. One
  pass in float32 over each ingredient, in place, is the least that tensor operations can do, and not exact.
"""

import argparse
import gc
import importlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from seasoning.checkpoints.fingerprints import UNKNOWN
from seasoning.soup.mix import mix_into
from seasoning.soup.mix_files import mix_files


MIXING = importlib.import_module("seasoning.soup.mix_files")
MODELS = {"resnet50": "ResNet-50", "vit_base_patch16_224": "ViT-B/16"}
DISTINCT = 10
REFERENCE = "model-soups"
_Result = TypeVar("_Result")
Run = Callable[[Sequence[Path], Path], object]


class Cost(NamedTuple):
    """What one contender took."""

    seconds: float
    peak: float  # MiB


def read_once(paths: Sequence[Path], out: Path) -> None:
    memory = bytearray(2**20)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(memory):
                pass


def ours_again(paths: Sequence[Path], out: Path) -> None:
    """Of files whose fingerprints are remembered."""
    mix_files(paths, uniform(paths), out, overwrite=True)


def ours(paths: Sequence[Path], out: Path) -> None:
    # In a process of its own, so nobody else notices.
    vars(MIXING)["recall"] = lambda identity: None
    ours_again(paths, out)


def ours_without_fingerprints(paths: Sequence[Path], out: Path) -> None:
    vars(MIXING)["recall"] = lambda identity: UNKNOWN
    ours_again(paths, out)


def by_model_soups(paths: Sequence[Path], out: Path, load: Callable[[Path], Mapping[str, Tensor]]) -> None:
    soup: dict[str, Tensor] = {}
    weight = 1 / len(paths)
    for number, path in enumerate(paths):
        state = load(path)
        if number == 0:
            soup = {name: tensor * weight for name, tensor in state.items()}
        else:
            soup = {name: tensor * weight + soup[name] for name, tensor in state.items()}
    save(soup, out)


def by_timm(paths: Sequence[Path], out: Path, load: Callable[[Path], Mapping[str, Tensor]]) -> None:
    total: dict[str, Tensor] = {}
    for path in paths:
        for name, tensor in load(path).items():
            if name in total:
                total[name] += tensor.to(torch.float64)
            else:
                total[name] = tensor.clone().to(torch.float64)
    for tensor in total.values():
        tensor.div_(len(paths))
    save({name: tensor.to(torch.float32) for name, tensor in total.items()}, out)


def save(state: Mapping[str, Tensor], out: Path) -> None:
    if out.suffix == ".pt":
        torch.save(state, out)
    else:
        save_file(dict(state), out)


def from_torch(path: Path) -> Mapping[str, Tensor]:
    state: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def uniform(paths: Sequence[object]) -> list[float]:
    return [1 / len(paths)] * len(paths)


def contenders(form: str) -> dict[str, tuple[str, Run]]:
    """For each, the form of the files that it reads, and what it does."""
    load = from_torch if form == "pt" else load_file
    runs: dict[str, tuple[str, Run]] = {
        "read once (the limit)": (form, read_once),
        "ours, without fingerprints": (form, ours_without_fingerprints),
        "ours": (form, ours),
        "ours, files hashed before": (form, ours_again),
        REFERENCE: ("pt", partial(by_model_soups, load=from_torch)),
    }
    if form != "pt":
        runs[f"{REFERENCE}, by load_file"] = form, partial(by_model_soups, load=load)
    return runs | {"timm": (form, partial(by_timm, load=load))}


def measured(run: Callable[[], object]) -> Cost:
    gc.collect()
    # Forgets the peak so far (Linux).
    Path("/proc/self/clear_refs").write_text("5")
    before, begun = peak_so_far(), time.process_time()
    run()
    return Cost(time.process_time() - begun, peak_so_far() - before)


def peak_so_far() -> float:
    """Largest resident size of this process, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def in_own_process(call: Callable[[], _Result]) -> _Result:
    """What a call returns in a fork of this process."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sender.send(call()))
    process.start()
    sender.close()
    try:
        result: _Result = receiver.recv()
    finally:
        process.join()
    return result


def write_checkpoints(folder: Path, architecture: str, count: int) -> None:
    """Copies of a network with other parameters each, as `NUMBER.pt` and `NUMBER.safetensors`."""
    start = timm.create_model(architecture).state_dict()
    for number in range(min(count, DISTINCT)):
        generator = torch.Generator().manual_seed(number)
        state = {name: moved(tensor, generator) for name, tensor in start.items()}
        for form in ("pt", "safetensors"):
            save(state, folder / f"{number}.{form}")
    for number in range(DISTINCT, count):
        for form in ("pt", "safetensors"):
            (folder / f"{number}.{form}").hardlink_to(folder / f"{number % DISTINCT}.{form}")
    for file in folder.iterdir():
        os.utime(file, (file.stat().st_atime, file.stat().st_mtime - 60))  # long enough ago to be remembered
    # What is yet to reach the disk would do so while the first rounds run.
    os.sync()


def moved(tensor: Tensor, generator: torch.Generator) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    return tensor + 0.01 * torch.rand(tensor.shape, generator=generator)


def compare(folder: Path, count: int, form: str, rounds: int) -> dict[str, Cost]:
    """Each contender's fastest round and largest peak."""
    found: dict[str, Cost] = {}
    for _ in range(rounds):
        for name, (reads, run) in contenders(form).items():
            paths = [folder / f"{number}.{reads}" for number in range(count)]
            out = folder / f"soup.{reads}"
            cost = in_own_process(partial(measured, partial(run, paths, out)))
            last = found.get(name, cost)
            found[name] = Cost(min(last.seconds, cost.seconds), max(last.peak, cost.peak))
            out.unlink(missing_ok=True)
    return found


def search(folder: Path, architecture: str, count: int, rounds: int) -> dict[str, Cost]:
    """Putting soups of resident ingredients into a live model."""
    distinct = [dict(from_torch(folder / f"{number}.pt")) for number in range(min(count, DISTINCT))]
    states = [distinct[number % DISTINCT] for number in range(count)]
    model = timm.create_model(architecture)
    runs: dict[str, Callable[[], object]] = {
        "mix_into": lambda: mix_into(model, states, uniform(states)),
        "dict sum + load_state_dict": lambda: summed_into(model, states, torch.float32),
        "the same in float64": lambda: summed_into(model, states, torch.float64),
        "in place in float32, rounded at every step": lambda: added_in_place(model, states),
    }
    found: dict[str, Cost] = {}
    for _ in range(rounds):
        for name, run in runs.items():
            cost = measured(run)
            last = found.get(name, cost)
            found[name] = Cost(min(last.seconds, cost.seconds), max(last.peak, cost.peak))
    return found


def summed_into(model: nn.Module, states: Sequence[Mapping[str, Tensor]], dtype: torch.dtype) -> None:
    weight = 1 / len(states)
    soup: dict[str, Tensor] = {}
    for number, state in enumerate(states):
        if number == 0:
            soup = {name: tensor.to(dtype) * weight for name, tensor in state.items()}
        else:
            soup = {name: tensor.to(dtype) * weight + soup[name] for name, tensor in state.items()}
    model.load_state_dict(soup)


def added_in_place(model: nn.Module, states: Sequence[Mapping[str, Tensor]]) -> None:
    """The least that tensor operations can do: one pass over each ingredient, no memory, no exactness."""
    weight = 1 / len(states)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            torch.mul(states[0][name], weight, out=tensor)
            for state in states[1:]:
                tensor.add_(state[name], alpha=weight)


def print_costs(found: Mapping[str, Cost], reference: str, size: float) -> None:
    limit = next((cost.seconds for name, cost in found.items() if name.startswith("read once")), None)
    print(f"| | CPU time, s | / {reference} | / read once | peak, MiB | peak / model |\n| --- |" + " --- |" * 5)
    for name, (seconds, peak) in found.items():
        over = f"{seconds / limit:.1f}" if limit else ""
        ratio = seconds / found[reference].seconds
        print(f"| {name} | {seconds:.3f} | {ratio:.2f} | {over} | {peak:.0f} | {peak / size:.2f} |")


def print_tables(folder: Path, architecture: str, counts: Sequence[int], rounds: int) -> None:
    in_own_process(partial(write_checkpoints, folder, architecture, max(counts)))
    size = (folder / "0.pt").stat().st_size / 2**20
    title = f"{MODELS.get(architecture, architecture)} ({size:.1f} MiB)"
    for count in counts:
        for form in ("safetensors", "pt"):
            print(f"\n## {title}, K = {count}, {form}\n", flush=True)
            found = compare(folder, count, form, rounds)
            print_costs(found, REFERENCE, size)
            fraction = 1 - found["ours, without fingerprints"].seconds / found["ours"].seconds
            print(f"\nFingerprints take {100 * fraction:.0f} % of ours.", flush=True)
        print(f"\n## {title}, K = {count}, search: resident ingredients into a live model\n", flush=True)
        found = in_own_process(partial(search, folder, architecture, count, rounds))
        print_costs(found, "dict sum + load_state_dict", size)


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the checkpoints are written; by default a temporary folder")
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="architectures of timm")
    parser.add_argument("--counts", nargs="+", type=int, default=[2, 4, 10, 50], metavar="K")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(dir=arguments.folder)
    # Before any work of torch: a process that has started threads cannot be forked safely.
    torch.set_num_threads(1)
    for architecture in arguments.models:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            print_tables(Path(folder), architecture, arguments.counts, arguments.rounds)


if __name__ == "__main__":
    main()
