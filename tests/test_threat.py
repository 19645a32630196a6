import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seasoning.errors import BadInput, UnknownName
from seasoning.threat import NORMS, Norm, Threat


# Radii from here on are refused, since nobody means them.
BEYOND: dict[Norm, float] = {"linf": 1.0, "l2": 64.0, "l1": math.inf}


@given(
    st.sampled_from(NORMS).flatmap(
        lambda norm: st.tuples(
            st.just(norm), st.floats(0, BEYOND[norm], exclude_max=True, allow_infinity=False, allow_nan=False)
        )
    )
)
def test_text_reads_back_to_the_same_value(allowed: tuple[Norm, float]) -> None:
    norm, eps = allowed
    threat = Threat(norm, eps)
    assert Threat.parse(str(threat)) == threat


@pytest.mark.parametrize("text", ["linf:8/255", "l2:0.5", "l1:12", "linf:0.2", "l2:128/255", "l1:0"])
def test_the_usual_texts_are_given_back(text: str) -> None:
    assert str(Threat.parse(text)) == text


def test_fractions_are_exact() -> None:
    assert Threat.parse("linf:8/255").eps == 8 / 255


@pytest.mark.parametrize(
    "text", ["linf", "linf:", "linf:abc", "linf:-1", "linf:1/0", "linf:nan", "l2:inf", "l2:1e400", "l2:1/2/3"]
)
def test_unreadable_radii_are_refused(text: str) -> None:
    with pytest.raises(BadInput):
        Threat.parse(text)


def test_an_unknown_norm_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'linf'"):
        Threat.parse("lifn:0.1")
    with pytest.raises(UnknownName):
        Threat("l3", 1.0)  # type: ignore[arg-type]


def test_radii_of_other_libraries_are_stored_alike() -> None:
    assert str(Threat("l2", np.float64(0.5))) == "l2:0.5"
    assert Threat("l1", 12) == Threat("l1", 12.0)
    assert str(Threat("l1", 12)) == "l1:12"


def test_a_radius_that_is_no_number_is_refused() -> None:
    with pytest.raises(BadInput, match="finite"):
        Threat("l2", math.nan)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("linf:8", "linf:8/255"),
        ("linf:1", "linf:1/255"),
        ("linf:0.999", None),
        ("linf:255/255", "linf:1/255"),
        ("linf:16.5", "linf:16.5/255"),
        ("l2:128", "l2:128/255"),
        ("l2:64", "l2:64/255"),
        ("l2:5", None),
        ("l1:255", None),
    ],
)
def test_radii_in_levels_of_255_are_refused_with_what_is_meant(text: str, meant: str | None) -> None:
    if meant is None:
        assert str(Threat.parse(text)) == text
        return
    with pytest.raises(BadInput, match=rf"did you mean {meant}\?$"):
        Threat.parse(text)
    assert Threat.parse(meant).eps < 1
