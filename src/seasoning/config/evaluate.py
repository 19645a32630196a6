"""What `evaluate` is asked: data, threats, and how images are read and attacked."""

from pydantic import Field, model_validator

from seasoning.config.base import Count, Positive, Seed, Spec, Threats
from seasoning.config.sections import AttackSection, NetworkSection, ReadingSection


__all__ = ["EvaluateSpec"]


class EvaluateSpec(Spec):
    """A measurement of checkpoints on data sets."""

    network: NetworkSection
    data: tuple[str, ...] = Field(default=("digits",), description="Known data sets, folders, archives, or KIND=PATH.")
    split: str | None = Field(default=None, description="Part of a data set that has parts, by default test.")
    images: Count | None = Field(default=None, description="Images of each data set, drawn by the seed; else all.")
    shots: Count | None = Field(default=None, description="Or so many of each class.")
    reading: ReadingSection = ReadingSection()
    threats: Threats = Field(default=(), description="Threats, such as linf:8/255.")
    attack: AttackSection = AttackSection()
    precision: str = Field(default="full", description="full; bf16 runs attacks in bfloat16 before the suite.")
    batch_size: Count | None = Field(default=None, description="Most images in the model at a time; else by need.")
    memory: Positive | None = Field(default=None, description="GiB for images in work; else half of what is free.")
    device: str | None = Field(default=None, description="cpu or cuda, by default cuda where there is one.")
    channels_last: bool = Field(default=False, description="Memory layout, faster on some processors.")
    seed: Seed = Field(default=0, description="Seed of the random starts, and of the images drawn.")

    @model_validator(mode="after")
    def _drawn_once(self) -> "EvaluateSpec":
        if self.images is not None and self.shots is not None:
            raise ValueError(f"images={self.images} and shots={self.shots}: give one, so many in all or of each class")
        return self
