"""Sections of settings that several commands have, or that a plan has many of."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from seasoning.config.base import Count, Spec


__all__ = ["AttackSection", "CandidateSection", "NetworkSection", "ReadingSection", "SpaceSection"]


class NetworkSection(Spec):
    """The network."""

    architecture: str = Field(description="Name that timm knows, ours among them, or path/to/file.py:function.")
    options: dict[str, Any] = Field(default={}, description="Further arguments of the architecture.")
    mean: tuple[float, ...] | None = Field(default=None, description="Mean of each channel, instead of its own.")
    std: tuple[float, ...] | None = Field(default=None, description="Standard deviation of each channel, likewise.")

    @model_validator(mode="after")
    def _both_constants(self) -> "NetworkSection":
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std go together: give both, or neither for the architecture's own")
        return self


class CandidateSection(Spec):
    """A model that is measured beside the soups; its file alone says as much as a table with nothing else."""

    file: str = Field(description="What `seasoning evaluate` takes as a checkpoint.")
    architecture: str | None = Field(
        default=None, description="By default what the file says, else that of the ingredients."
    )
    options: dict[str, Any] = Field(default={}, description="Further arguments of the architecture.")
    mean: tuple[float, ...] | None = Field(default=None, description="Mean of each channel, where its file says none.")
    std: tuple[float, ...] | None = Field(default=None, description="Standard deviation of each channel, likewise.")

    @model_validator(mode="before")
    @classmethod
    def _of_a_file(cls, content: Any) -> Any:
        return {"file": str(content)} if isinstance(content, str | Path) else content

    @model_validator(mode="after")
    def _both_constants(self) -> "CandidateSection":
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std go together: give both, or neither")
        return self


class ReadingSection(Spec):
    """How images are read."""

    transform: str = Field(
        default="auto",
        description="model resizes and crops photographs as the architecture asks, as-is leaves their size; auto "
        "leaves images that were made at one size.",
    )
    classes: tuple[str, ...] = Field(default=(), description="The model's classes, in the order of its logits.")
    class_order: str = Field(
        default="auto",
        description="How folders are numbered where neither classes nor the checkpoint names them: plain, natural or "
        "auto.",
    )
    partial: bool = Field(default=False, description="Whether published sets that are not complete are used.")
    skip_damaged: bool = Field(default=False, description="Whether images that cannot be read are left out.")
    leave_out_training_images: bool = Field(
        default=False,
        description="Whether images that a checkpoint was trained, validated or chosen on, as its file lists them, are "
        "left out.",
    )
    workers: Annotated[int, Field(ge=0)] | None = Field(default=None, description="Processes that decode images.")
    cache: str | None = Field(default=None, description="Folder that keeps decoded images, mapped into memory.")
    memory_limit: Annotated[float, Field(ge=0)] = Field(
        default=4.0, description="GiB of a data set beyond which its images are kept on the disk, in the run's folder."
    )


class AttackSection(Spec):
    """How models are attacked when they are measured."""

    suite: str = Field(default="default", description="Attack suite of the final accuracies.")
    steps: Count | None = Field(default=None, description="Steps of every attack instead of the suite's own.")
    screening_steps: Count = Field(
        default=20, description="Steps of attacks while screening soups; 1.5 times as many for l_1."
    )
    loss: str | None = Field(default=None, description="Loss of the suite's AutoPGD, for models of few classes.")
    confirm: str | None = Field(
        default=None, description="Stronger suite for the ingredients and the chosen soups, on held-out images."
    )


class SpaceSection(Spec):
    """The weights that are tried."""

    kind: Literal["simplex", "box", "line", "ladder"] = Field(default="simplex", description="Shape of the space.")
    step: Annotated[float, Field(gt=0, le=1)] = Field(default=0.1, description="Weights are multiples of it.")
    low: float = Field(default=-0.4, description="Least weight in a box, or on a line.")
    high: float = Field(default=1.4, description="Largest weight in a box, or on a line.")
    groups: dict[str, str] = Field(default={}, description="Group of each ingredient in a ladder, such as its norm.")

    @field_validator("step")
    @classmethod
    def _divides_one(cls, step: float) -> float:
        if abs(round(1 / step) * step - 1) > 1e-9:
            raise ValueError("1 is no multiple of the step: take 0.1, 0.05, 0.125 or the like")
        return step

    @property
    def parts(self) -> int:
        """Weights are multiples of one over it."""
        return round(1 / self.step)
