"""Tasks and their texts."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from seasoning.errors import BadInput, SeasoningError
from seasoning.task import SPLITS, Task
from seasoning.threat import Threat


NAMES = st.text(min_size=1, max_size=6).filter(lambda text: "/" not in text and "@" not in text)
SOME = st.one_of(NAMES, st.sampled_from([*SPLITS, "1", "3", "5", "clean"]))
THREATS = st.builds(Threat, st.sampled_from(["linf", "l2", "l1"]), st.floats(0, 0.9))


@given(
    data=SOME,
    part=st.none() | SOME,
    shift=st.none() | SOME,
    corruption=st.none() | SOME,
    severity=st.none() | st.integers(0, 6),
    threat=st.none() | THREATS,
)
def test_what_can_be_made_is_read_back(
    data: str,
    part: str | None,
    shift: str | None,
    corruption: str | None,
    severity: int | None,
    threat: Threat | None,
) -> None:
    try:
        task = Task(data, part, shift, corruption, severity, threat)
    except BadInput:
        return
    assert Task.parse(str(task)) == task


@given(st.text(alphabet="ab/@13l2:.", max_size=14))
def test_what_can_be_read_is_written_back(text: str) -> None:
    try:
        task = Task.parse(text)
    except SeasoningError:
        return
    assume(task.threat is None or str(task.threat) in text)
    assert str(task) == text


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("digits", Task("digits")),
        ("digits/test", Task("digits", "test")),
        ("digits/blur", Task("digits", "blur")),
        ("digits/test/blur", Task("digits", "test", "blur")),
        ("digits@linf:0.19", Task("digits", threat=Threat("linf", 0.19))),
        ("imagenet-c/fog/3", Task("imagenet-c", corruption="fog", severity=3)),
        ("c/selection/fog/3@l2:2", Task("c", "selection", None, "fog", 3, Threat("l2", 2))),
        ("v2/matched", Task("v2", "matched")),
        # One component alone is no severity.
        ("set/3", Task("set", "3")),
    ],
)
def test_texts_worked_out_by_hand(text: str, task: Task) -> None:
    assert Task.parse(text) == task
    assert str(task) == text


@pytest.mark.parametrize("text", ["", "a/", "/a", "a@b@l2:1", "a/b/c", "a/test/b/c", "a@", "a/test/b/fog/3"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(SeasoningError):
        Task.parse(text)


def test_columns_join_corruptions_and_tell_threats_apart() -> None:
    texts = ["c/fog/1", "c/fog/2", "c/snow/5", "c/fog/1@l2:1", "c", "digits/blur"]
    assert [Task.parse(text).column for text in texts] == ["c", "c", "c", "c@l2:1", "c", "digits/blur"]


def test_a_split_takes_what_was_of_the_whole_set() -> None:
    assert str(Task.parse("digits/blur").on("test")) == "digits/test/blur"
    assert str(Task.parse("c/fog/3").on("selection")) == "c/selection/fog/3"
    assert str(Task.parse("digits@l2:1").clean.on("test")) == "digits/test"
    for text in ("digits/test", "set/3"):
        with pytest.raises(BadInput):
            Task.parse(text).on("selection")
