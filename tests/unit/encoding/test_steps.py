import pytest
from hypothesis import given
from hypothesis import strategies as st

from prm.encoding.steps import complete_steps, is_final, split_steps


@pytest.mark.parametrize(
    ("text", "separator", "steps"),
    [
        ("47 + 38 = 85\n85 - 12 = 73\n#### 73", "\n", ("47 + 38 = 85", "85 - 12 = 73", "#### 73")),
        ("\n\n  a = 1  \n \n\tb = 2\n\n", "\n", ("a = 1", "b = 2")),
        ("a = 1\r\nb = 2", "\n", ("a = 1", "b = 2")),
        ("one\ntwo\n\nthree\n\n\nfour", "\n\n", ("one\ntwo", "three", "four")),
        ("a\n\n\n\nb", "\n\n", ("a", "b")),
        ("a ки b", " ки ", ("a", "b")),
        ("", "\n", ()),
        (" \n ", "\n", ()),
    ],
)
def test_split(text, separator, steps):
    assert split_steps(text, separator) == steps


step_texts = st.text(alphabet="ab7 =\\{", min_size=1).map(str.strip).filter(bool)


@given(st.lists(step_texts), st.sampled_from(["\n", "\n\n", "\n---\n"]))
def test_splitting_undoes_joining(steps, separator):
    assert split_steps(separator.join(steps), separator) == tuple(steps)


@pytest.mark.parametrize(
    ("text", "separator", "steps"),
    [
        ("a = 1\nb = 2\nc =", "\n", ["a = 1", "b = 2"]),
        (" a = 1 \n", "\n", ["a = 1"]),
        ("a = 1\nb = 2\n", "\n", ["a = 1", "b = 2"]),
        ("a = 1", "\n", []),
        ("", "\n", []),
        ("one\n", "\n\n", []),
        ("one\n\ntwo\n", "\n\n", ["one"]),
    ],
)
def test_a_step_is_complete_only_with_its_separator(text, separator, steps):
    assert complete_steps(text, separator) == steps


@pytest.mark.parametrize(
    "step",
    [
        "#### 73",
        "####73",
        " #### -1/2",
        r"So the area is \boxed{\frac{1}{2}}.",
        "\\boxed{\n4}",
        "The answer is 7.",
        "Therefore, the final answer is: $7$",
        "THE ANSWER IS B",
    ],
)
def test_final_steps(step):
    assert is_final(step)


@pytest.mark.parametrize(
    "step",
    [
        "47 + 38 = 85",
        "####",
        "#### ",
        r"\boxed{}",
        "The answer is",
        "The answer is:",
        "### 7",
        "Let x be #### wide",
        "",
    ],
)
def test_steps_that_state_no_answer(step):
    assert not is_final(step)
