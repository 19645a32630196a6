"""`seasoning train`: an ingredient, by a recipe."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from seasoning.cli.shared import INTERRUPTED, progress


if TYPE_CHECKING:
    from seasoning.training import Scores, TrainingProgress


__all__ = ["PREEMPTED", "train"]

# What sysexits.h calls a failure that goes away: a job that is sent SIGTERM may be started again with --resume.
PREEMPTED = 75


def train(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe, such as linf-scratch, or a TOML file.")],
    data: Annotated[str | None, typer.Option(help="Folder of training images, or a known data set.")] = None,
    init: Annotated[Path | None, typer.Option(help="Checkpoint to fine-tune.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Setting as key=value, such as schedule.epochs=1; repeatable.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume the training in the folder; start one if there is none.")
    ] = False,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Resume although recipe, images or start have changed.")
    ] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Try the recipe in seconds, on synthetic images; the numbers mean nothing.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the training; runs/train/RECIPE by default.")] = None,
    trackers: Annotated[
        list[str] | None, typer.Option("--tracker", help="tensorboard (the default), wandb, …, or none; repeatable.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu; by default a GPU if there is one.")] = None,
    save_seconds: Annotated[
        float, typer.Option(min=0, help="Seconds between saved states; every epoch is saved, too.")
    ] = 300.0,
) -> None:
    """Train an ingredient by a recipe.

    Processes that torchrun or accelerate launch starts train together. SIGTERM saves the state and exits with 75,
    Ctrl-C with 130; after either, and after a crash, --resume goes on and ends with the same parameters.
    """
    from seasoning.config.train import asked_recipe
    from seasoning.errors import BadInput, Stopped

    if device not in (None, "cpu"):
        raise BadInput(f"--device {device}: expected cpu, or no option for a GPU where there is one")
    name, spec = asked_recipe(recipe, data, settings or [], smoke=smoke)
    folder = out or Path("runs/train") / (f"{name}-smoke" if smoke else name)
    with stopping() as caught, _showing() as shown:
        from seasoning.commands.train import run_recipe

        if smoke:
            _take_one_thread()
        try:
            best = run_recipe(
                name,
                spec,
                folder,
                init=init,
                resume=resume,
                accept_changes=accept_changes,
                device=device,
                trackers=[tracker for tracker in trackers or ["tensorboard"] if tracker != "none"],
                save_seconds=save_seconds,
                stop=lambda: bool(caught),
                on_step=shown.step,
                on_epoch=shown.epoch,
            )
        except Stopped as stopped:
            shown.say(f"{stopped}; give the same command with --resume")
            raise typer.Exit(PREEMPTED if signal.SIGTERM in caught else INTERRUPTED) from None
    if spec.smoke:
        shown.say("Smoke run: it only tried the machinery, the numbers mean nothing.")
    shown.say(f"ingredient: {best}")


def _take_one_thread() -> None:
    import torch

    # A network so small gains nothing from a second one, and on a busy machine two wait for each other.
    torch.set_num_threads(1)


@contextmanager
def stopping() -> Iterator[list[int]]:
    """Signals caught so far: the first SIGTERM or SIGINT only asks to stop, a second SIGINT interrupts."""
    caught: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if caught and number == signal.SIGINT:
            raise KeyboardInterrupt
        caught.append(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Shown:
    """What the user sees: a bar that moves with the steps, and a line for each epoch."""

    def __init__(self, watch: Callable[[str, float, float], None], say: Callable[..., None]) -> None:
        self._watch, self.say = watch, say
        self._report: TrainingProgress | None = None

    def step(self, report: "TrainingProgress") -> None:
        self._report = report
        label = f"epoch {report.epoch + 1}/{report.epochs}"
        self._watch(f"{label}  {_spoken(report)}", report.fraction, 1.0)

    def epoch(self, number: int, scores: "Scores") -> None:
        parts = [f"epoch {number + 1}"]
        if self._report is not None and self._report.epoch == number:
            parts.append(f"{_spoken(self._report)}, {_time(self._report.left)} left")
        robust = "" if scores.robust is None else f", robust {100 * scores.robust:.1f} %"
        self.say("; ".join([*parts, f"validation: clean {100 * scores.clean:.1f} %{robust}"]), flush=True)


@contextmanager
def _showing() -> Iterator[_Shown]:
    """What the user sees; of processes that train together, the first one shows it."""
    if os.environ.get("RANK", "0") != "0":
        yield _Shown(_unseen, _unseen)
        return
    with progress() as watch:
        yield _Shown(watch, print)


def _unseen(*what: object, **how: object) -> None:
    pass


def _spoken(report: "TrainingProgress") -> str:
    return f"loss {report.loss:.3f}, right {100 * report.right:.1f} %, {report.speed:.0f} images/s"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
