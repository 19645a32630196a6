"""Threats: which perturbations of an image an attacker is allowed."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from seasoning.errors import BadInput, UnknownName


__all__ = ["NORMS", "Norm", "Threat"]

Norm = Literal["linf", "l2", "l1"]
NORMS: tuple[Norm, ...] = get_args(Norm)

# From here on a radius is meant in levels of 255. One of l_1 may be anything: 255 is usual for images of 224 pixels.
_IN_LEVELS = {"linf": 1.0, "l2": 64.0}


@dataclass(frozen=True, slots=True)
class Threat:
    """All perturbations of norm at most `eps` that keep the image in [0, 1].

    Args:
        norm: `"linf"`, `"l2"` or `"l1"`.
        eps: Radius of the ball, at least 0, in units of pixels in [0, 1].

    Raises:
        UnknownName: `norm` is none of the three.
        BadInput: `eps` is negative, infinite or not a number, or so large that it can only be meant in levels of 255.
    """

    norm: Norm
    eps: float

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise UnknownName("threat norm", str(self.norm), NORMS)
        # A number of another library would print, and so be stored, in another form.
        object.__setattr__(self, "eps", float(self.eps))
        if not (math.isfinite(self.eps) and self.eps >= 0):
            raise BadInput(f"threat radius {self.eps!r}: expected a finite number of at least 0, such as 8/255")
        if self.eps >= _IN_LEVELS.get(self.norm, math.inf):
            so_much = "covers the whole box" if self.norm == "linf" else "is beyond any in use"
            given = repr(self.eps).removesuffix(".0")
            raise BadInput(
                f"threat {self.norm}:{given}: pixels are in [0, 1], where this radius {so_much}: "
                f"did you mean {self.norm}:{given}/255?"
            )

    @classmethod
    def parse(cls, text: str) -> "Threat":
        """Read `"linf:8/255"`, `"l2:0.5"` or `"l1:12"`.

        Raises:
            BadInput: `text` is not `norm:radius`.
            UnknownName: the norm is unknown.
        """
        norm, colon, radius = text.strip().partition(":")
        if norm not in NORMS:
            raise UnknownName("threat norm", norm, NORMS)
        try:
            above, _, below = radius.partition("/")
            eps = float(above) / float(below or 1) if colon else math.nan
        except (ValueError, ZeroDivisionError):
            eps = math.nan
        if math.isnan(eps):
            raise BadInput(f"threat {text!r}: expected norm:radius, such as linf:8/255, l2:0.5 or l1:12")
        return cls(norm, eps)

    def __str__(self) -> str:
        """The text that `parse` reads back to the same value."""
        decimal, levels = repr(self.eps).removesuffix(".0"), round(min(self.eps, 1e9) * 255)
        in_levels = f"{levels}/255"
        exact = levels / 255 == self.eps
        return f"{self.norm}:{in_levels if exact and len(in_levels) < len(decimal) else decimal}"
