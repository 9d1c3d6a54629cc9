from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prm.encoding.steps import SEPARATORS, complete_steps, separator_of, split_steps


@pytest.mark.parametrize(
    ("text", "rule", "steps"),
    [
        ("47 + 38 = 85\n85 - 12 = 73\n#### 73", "line", ("47 + 38 = 85", "85 - 12 = 73", "#### 73")),
        ("\n\n  a = 1  \n \n\tb = 2\n\n", "line", ("a = 1", "b = 2")),
        ("a = 1\r\nb = 2", "line", ("a = 1", "b = 2")),
        ("one\ntwo\n\nthree\n\n\nfour", "paragraph", ("one\ntwo", "three", "four")),
        ("a\n \t\n\n\nb", "paragraph", ("a", "b")),
        ("a\r\n\r\nb\r\nc", "paragraph", ("a", "b\r\nc")),
        ("one\n\ntwo\n#### 3\n", "whole", ("one\n\ntwo\n#### 3",)),
        ("", "line", ()),
        (" \n ", "paragraph", ()),
        ("\n", "whole", ()),
    ],
)
def test_split(text, rule, steps):
    assert split_steps(text, rule) == steps


@pytest.mark.parametrize(
    "step",
    [
        "Adding up, we get:\n\\[\n47 + 38 = 85\n\\]",
        "\\[\n47 + 38 = 85\n\\]",
        "So we have: \n\n$$\nx = 2 \\\\[3pt]\ny = 1\n$$",
        "The system is:\n\\begin{align}\nx &= 2\\\\\n\ny &= 1\n\\end{align}",
        "\\begin{cases}\nx = 2\n\n\\end{cases}",
        "Let us compute it:\n```python\nx = 2\n\nprint(x)\n```",
        "The answer is \\boxed{\n\\frac{1}{2}\n}",
        "### Step 1: Find the price\nOne box costs 6 dollars.",
        "#### Step 2: Find the total\n\nTwo boxes cost 12 dollars.",
        "#### Multiplying both sides\nx = 4",
        "#### Answer\nThe answer is 12.",
        "**Step 1: Find the price**\n\nOne box costs 6 dollars.",
        "**Step 1: Find the price of a box.**\n\nOne box costs 6 dollars.",
        "**Calculate the price:**\n\\[ 2 \\times 3 = 6 \\]",
        "1. **Multiply the numbers:**\n   \\[\n   2 \\times 3 = 6\n   \\]",
        "---\nNow the second part.",
        "2.\nThe price is 6.",
        "因此：\n\\[ x = 2 \\]",
        "It is the product of all of them, that is,\n\n\\[ n! = n (n-1) \\cdots 1. \\]",
        "因为前三项的和是十二，\n\n所以第四项是五。",
    ],
)
@pytest.mark.parametrize("rule", ["line", "paragraph"])
def test_what_belongs_together_is_one_step(step, rule):
    if "\n\n" in step or rule == "line":
        separator = SEPARATORS[rule]
        before, after = "First there is this.", "Then there is that."
        assert split_steps(separator.join([before, step, after]), rule) == (before, step, after)
        assert complete_steps(step + separator, rule) == [step]
        assert complete_steps(step[: step.rindex("\n")] + separator, rule) == []


@pytest.mark.parametrize(
    "steps",
    [
        ("47 + 38 = 85, carry 1", "#### 85"),
        ("The matrix is \\( \\begin{pmatrix} 1 \\\\[2pt] 2 \\end{pmatrix} \\).", "Its rank is 1."),
        ("It costs $5.", "That is $$x$$ and \\[y\\].", "Done."),
        ("**The price is 6.**", "We are done."),
        ("#### 12", "#### -3/4"),
        ("It is #1 of them", "x = 2"),
        ("At 7:45 it leaves", "x = 2"),
        ("- x is 2", "* y is 3", "1. z is 4"),
        ("So \\boxed{4}", "is the answer"),
    ],
)
@pytest.mark.parametrize("rule", ["line", "paragraph"])
def test_what_is_said_ends_a_step(steps, rule):
    assert split_steps(SEPARATORS[rule].join(steps), rule) == steps


def test_a_real_solution_has_no_step_of_delimiters():
    text = (
        "To find the total, we can follow these steps:\n\n1. Washington has 140 goats.\n2. Paddington has 40 more. So:\n"
        "   \\[\n   140 + 40 = 180\n   \\]\n\n3. Add them:\n\n   \\[\n   140 + 180 = 320\n   \\]\n\n"
        "Therefore, the total is \\(\\boxed{320}\\)."
    )
    paragraphs, lines = split_steps(text, "paragraph"), split_steps(text, "line")
    assert [step.split("\n")[0] for step in paragraphs] == [
        "To find the total, we can follow these steps:",
        "3. Add them:",
        "Therefore, the total is \\(\\boxed{320}\\).",
    ]
    assert [step.split("\n")[0] for step in lines] == [
        "To find the total, we can follow these steps:",
        "2. Paddington has 40 more. So:",
        "3. Add them:",
        "Therefore, the total is \\(\\boxed{320}\\).",
    ]
    assert "".join("".join(paragraphs).split()) == "".join("".join(lines).split()) == "".join(text.split())


def test_a_paragraph_ends_with_the_output_of_its_program():
    program = "Let us compute it.\n```python\nx = 3 * 4\n\nprint(x)\n```"
    output = "```output\n12\n```"
    text = (
        f"{program}\n{output}\nSo each gets 12. Now the second part.\n```python\nprint(12 / 2)\n```\nThis prints 6.0."
    )
    assert split_steps(text, "paragraph") == (
        f"{program}\n{output}",
        "So each gets 12. Now the second part.\n```python\nprint(12 / 2)\n```\nThis prints 6.0.",
    )
    assert split_steps(text.replace("\n", "\r\n"), "paragraph")[1].startswith("So each gets 12.")
    assert split_steps(f"{program}\n\n{output}\n\nSo 12.", "paragraph") == (program, output, "So 12.")


pieces = st.sampled_from(
    [
        "a",
        " ",
        "\n",
        "\r\n",
        "\n\n",
        ":",
        "\\[",
        "\\]",
        "$$",
        "```",
        "```output",
        "**b**",
        "#### 3",
        "### x",
        "1.",
        ".",
        "{",
    ]
)


@given(st.lists(pieces, max_size=25).map("".join), st.sampled_from(["line", "paragraph"]))
def test_a_text_has_the_steps_that_were_seen_while_it_was_written(text, rule):
    """What has ended stays ended, and sampling step by step divides as reading the whole text does."""
    seen = [complete_steps(text[:end], rule) for end in range(len(text) + 1)]
    assert all(later[: len(earlier)] == earlier for earlier, later in pairwise(seen))
    assert list(split_steps(text, rule))[: len(seen[-1])] == seen[-1]
    by_step, rest = [], text
    while rest:
        end = next((i for i in range(1, len(rest) + 1) if complete_steps(rest[:i], rule)), len(rest))
        by_step += split_steps(rest[:end], rule)
        rest = rest[end:]
    assert tuple(by_step) == split_steps(text, rule)


step_texts = st.text(alphabet="ab7 =\\", min_size=1).map(str.strip).filter(bool)


@given(st.lists(step_texts), st.sampled_from(["line", "paragraph"]))
def test_splitting_undoes_joining(steps, rule):
    assert split_steps(separator_of(rule).join(steps), rule) == tuple(steps)


@pytest.mark.parametrize(
    ("text", "rule", "steps"),
    [
        ("a = 1\nb = 2\nc =", "line", ["a = 1", "b = 2"]),
        (" a = 1 \n", "line", ["a = 1"]),
        ("a = 1\nb = 2\n", "line", ["a = 1", "b = 2"]),
        ("a = 1", "line", []),
        ("", "line", []),
        ("one\n", "paragraph", []),
        ("one\n\ntwo\n", "paragraph", ["one"]),
        ("one\n\ntwo\n\n", "whole", []),
    ],
)
def test_a_step_is_complete_only_with_its_separator(text, rule, steps):
    assert complete_steps(text, rule) == steps


def test_a_long_chain_of_thought_is_grouped_by_size_and_turning_words():
    sentence = "The sum of the first three terms is twelve, and the fourth is five. "  # 68 characters
    thinking = [sentence * 2, sentence * 2, "Wait, I counted one twice.", *[sentence * 3] * 8, "Hmm, 12 + 5 = 17."]
    steps = split_steps("\n\n".join(thinking), "thought")
    assert [step.split()[0] for step in steps] == ["The", "Wait,", "The", "Hmm,"]
    assert "\n\n".join(steps).split() == "\n\n".join(thinking).split()
    assert [len(step) > 1000 for step in steps] == [False, True, False, False]
    assert split_steps("Wait.\n\nHmm.\n\nSo 5.", "thought") == ("Wait.\n\nHmm.\n\nSo 5.",)


def test_an_unknown_rule_is_named():
    with pytest.raises(ValueError, match="step rule 'sentence' is not one of line, paragraph, thought, whole"):
        separator_of("sentence")


def test_a_thought_ends_before_a_turn_when_it_has_200_characters_and_before_anything_when_it_has_1000():
    for length, next_paragraph, thoughts in (
        (199, "Wait, no.", 1), (200, "Wait, no.", 2), (200, "It is.", 1), (999, "It is.", 1), (1000, "It is.", 2)
    ):  # fmt: skip
        steps = split_steps("a" * length + "\n\n" + next_paragraph, "thought")
        assert len(steps) == thoughts
        assert "\n\n".join(steps) == "a" * length + "\n\n" + next_paragraph
