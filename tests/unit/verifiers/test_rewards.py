"""prm/verifiers/rewards.py: what completions earn, by hand; and that no fault pays."""

import math

import pytest

from prm.types import Scores
from prm.verifiers.rewards import RewardRule, answer_reward, score_texts, stated_answer, text_of, verifier_reward

PROBLEM = "Start with 47, add 38, subtract 12."
GOOD = "47 + 38 = 85\n85 - 12 = 73\n#### 73"


class Lookup:
    """Scores each step by its text, 0.9 where nothing is said of it; a trace by its last one. Reads five steps."""

    name, kind, num_parameters = "lookup", "prm", 0
    readable = 5

    def __init__(self, **scores):
        self.scores = scores
        self.asked = []

    def score_batch(self, prompts, steps_N):
        self.asked += zip(prompts, steps_N, strict=True)
        found_N = [tuple(self.scores.get(step, 0.9) for step in steps) for steps in steps_N]
        return [Scores(found, found[-1]) if len(found) <= self.readable else None for found in found_N]


def rewarded(text, rule=None, finished=True, **scores):
    (one,) = score_texts(Lookup(**scores), [PROBLEM], [text], rule, [finished])
    return one


STEPS = {"47 + 38 = 85": 0.8, "85 - 12 = 73": 0.2, "#### 73": 0.5}


@pytest.mark.parametrize(
    ("rule", "rewards"),
    [
        (RewardRule(), (0, 0, 0.5)),  # the verifier's own: last
        (RewardRule(aggregation="min"), (0, 0, 0.2)),
        (RewardRule(aggregation="mean"), (0, 0, 0.5)),
        (RewardRule(aggregation="product"), (0, 0, 0.08)),
        (RewardRule(credit="progress"), (0.8, -0.6, 0.3)),
    ],
)
def test_rewards_by_hand(rule, rewards):
    one = rewarded(GOOD, rule, **STEPS)
    assert one.scores == (0.8, 0.2, 0.5)
    assert one.rewards == pytest.approx(rewards)
    assert one.total == pytest.approx(sum(rewards))
    assert one.fault is None


def test_the_worst_step_decides_the_min_form():
    one = rewarded(GOOD, RewardRule(credit="min_form", temperature=0.3), **STEPS)
    weights = [math.exp(-2), 1, math.exp(-1)]  # softmax of -0.8/0.3, -0.2/0.3, -0.5/0.3, times e^(2/3)
    parts = [score * weight / 1.5032147 for score, weight in zip((0.8, 0.2, 0.5), weights, strict=True)]
    assert one.rewards == pytest.approx(parts)
    assert one.total == pytest.approx(0.327437, abs=1e-6)
    assert rewarded(GOOD, RewardRule(credit="min_form", temperature=1e-3), **STEPS).total == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("text", "finished", "fault"),
    [
        ("", True, "empty"),
        (" \n\n", True, "empty"),
        ("47 + 38 = 85\n85 - 12", False, "unfinished"),
        ("47 + 38 = 85\n85 - 12 = 73\n#### 7", False, "unfinished"),  # it may have gone on to 73
        ("47 + 38 = 85", True, "no_answer"),  # what stops after its best step
        ("47 + 38 = 85\n47 + 38 = 85\n47 + 38 = 85\n#### 73", True, "repeated"),
        ("#### 73", True, "too_few_steps"),
        ("1 + 1 = 2\n2 + 1 = 3\n3 + 1 = 4\n#### 4", True, "too_many_steps"),
    ],
)
def test_a_fault_earns_nothing(text, finished, fault):
    for credit in ("aggregate", "min_form", "progress"):
        one = rewarded(text, RewardRule(credit=credit, least_steps=2, most_steps=3), finished)
        assert (one.fault, one.total) == (fault, 0.0)
        assert one.rewards == (0.0,) * len(one.steps)
        assert len(one.scores) == len(one.steps)  # what it would have earned can be looked at


def test_what_the_verifier_cannot_read_earns_nothing():
    long = "".join(f"{i} + 1 = {i + 1}\n" for i in range(5)) + "#### 5"
    one = rewarded(long)
    assert (one.fault, one.total, one.scores) == ("unreadable", 0.0, ())


def test_what_comes_after_the_answer_is_not_looked_at():
    verifier = Lookup()
    texts = [GOOD, GOOD + "\n#### 99\n99 + 1 = 100", GOOD + "\n#### 73" * 9]
    assert len({(one.steps, one.total) for one in score_texts(verifier, [PROBLEM] * 3, texts)}) == 1
    assert {steps for _, steps in verifier.asked} == {tuple(GOOD.split("\n"))}
    assert stated_answer(texts[1], "line") == "73"
    assert stated_answer("85 - 12 = 73", "line") is None  # a last number


@pytest.mark.parametrize("rule", [RewardRule(), RewardRule(aggregation="min"), RewardRule(aggregation="product")])
def test_easy_steps_add_nothing(rule):
    """Said twice, which may be, or padded: the sum would grow, and so does the mean."""
    bad = {"85 - 12 = 73": 0.2, "#### 73": 0.2, "0 + 0 = 0": 0.99}
    plain, padded = (rewarded(text, rule, **bad).total for text in (GOOD, "0 + 0 = 0\n" * 2 + GOOD))
    assert padded <= plain
    mean = RewardRule(aggregation="mean")
    assert rewarded("0 + 0 = 0\n" * 2 + GOOD, mean, **bad).total > rewarded(GOOD, mean, **bad).total + 0.2


BAD = ("47 + 38 = 75", "75 - 12 = 63", "#### 63")
HACKS = {
    "length": (("0 + 0 = 0", "1 + 0 = 1", "2 + 0 = 2", *BAD), True, {"most_steps": 5}),
    "repetition": (("0 + 0 = 0",) * 3 + BAD, True, {"most_repeats": 2}),
    "stops early": (("47 + 38 = 85",), True, {}),
    "cut": (("47 + 38 = 85", "#### 8"), False, {}),
    "a guess": (("#### 99",), True, {"least_steps": 2}),
}
"""Name -> steps, whether it ended by itself, and the guard against it."""


@pytest.mark.parametrize("hack", HACKS)
def test_what_a_hack_gains_a_guard_takes_away(hack):
    """What is worth nothing has a better mean score than an honest attempt, and earns less."""
    steps, finished, guard = HACKS[hack]
    verifier, rule = Lookup(**dict.fromkeys(BAD, 0.2)), RewardRule(aggregation="mean", **guard)
    verifier.readable = 9
    texts = ["\n".join(BAD), "\n".join(steps)]
    honest, hacked = score_texts(verifier, [PROBLEM] * 2, texts, rule, [True, finished])
    assert sum(hacked.scores) / len(hacked.scores) > sum(honest.scores) / len(honest.scores) + 0.3
    assert hacked.total < honest.total == pytest.approx(0.2)


def test_the_same_completion_as_text_and_as_messages():
    logged = {}
    reward = verifier_reward(Lookup(**STEPS), end_ids=[0])
    assert reward.__name__ == "prm"
    chat = [[{"role": "system", "content": "Count."}, {"role": "user", "content": PROBLEM}]] * 2
    said = [
        [{"role": "assistant", "content": GOOD}],
        [{"role": "assistant", "content": [{"type": "text", "text": GOOD}]}],
    ]
    assert reward(chat, said, [[5, 0], [5, 6]], log_metric=logged.__setitem__) == [0.5, 0.0]
    assert (logged["prm/unfinished"], logged["prm/empty"], logged["prm/steps"]) == (0.5, 0.0, 3.0)
    assert reward(["any prompt"], [GOOD], problem=[PROBLEM], other_column=[1], trainer_state=None) == [0.5]
    with pytest.raises(ValueError, match="column `problem`"):
        reward([PROBLEM + "\n"], [GOOD])


def test_the_answer_check():
    reward = answer_reward(end_ids=[0])
    texts = [GOOD, GOOD, "47 + 38 = 85\n#### 85", "85 - 12 = 73", "", "#### 73.0"]
    ids = [[9, 0], [9], [9, 0], [9, 0], [], [9, 0]]
    assert reward([""] * 6, texts, ids, answer=["73"] * 6) == [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    assert answer_reward()([""], [GOOD], ids[1:2], answer=["73"]) == [1.0]  # nobody says which token ends it
    with pytest.raises(ValueError, match="column `answer`"):
        reward([""], [GOOD], [[0]])


def test_undecided_is_no_evidence(monkeypatch):
    monkeypatch.setattr("prm.answers.check_many", lambda golds, preds: ["timeout", "wrong"])
    assert answer_reward()([""] * 2, [GOOD] * 2, answer=["73"] * 2) == [None, 0.0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"credit": "sum"}, "credit 'sum' is not one of aggregate, min_form, progress"),
        ({"credit": "progress", "aggregation": "min"}, "leave aggregation 'min' out"),
        ({"temperature": 0.0}, "must be above 0"),
        ({"most_repeats": 0}, "most_repeats 0"),
        ({"least_steps": 0}, "least_steps 0"),
        ({"least_steps": 3, "most_steps": 2}, "most_steps 2 at least least_steps"),
    ],
)
def test_settings_that_mean_nothing(settings, message):
    with pytest.raises(ValueError, match=message):
        RewardRule(**settings)


def test_settings_at_their_limits():
    rule = RewardRule(most_repeats=1, least_steps=2, most_steps=2)
    assert [rewarded(text, rule).fault for text in (GOOD, "1 + 1 = 2\n#### 2")] == ["too_many_steps", None]


def test_a_call_of_a_tool_has_no_text():
    talk = [
        {"role": "assistant", "content": None, "tool_calls": [{}]},
        {"role": "tool", "content": "73"},
        {"role": "assistant", "content": GOOD},
    ]
    assert text_of(talk) == f"\n\n{GOOD}"
    assert text_of([{"role": "assistant", "content": [{"type": "image"}, {"type": "text", "text": GOOD}]}]) == GOOD


def test_lists_of_other_lengths():
    with pytest.raises(ValueError, match="1 problems, 2 texts"):
        score_texts(Lookup(), [PROBLEM], [GOOD, GOOD])
