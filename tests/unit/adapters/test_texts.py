"""Whole texts to scores: division, order, what has no score, choices, threads."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from prm.adapters.texts import TextVerifier, load_text_verifier
from prm.encoding.codec import StepCodec
from prm.types import Scores
from prm.verifiers.scoring import Example, Scoring

TOO_LONG = "\n".join(["1 [0.9]"] * 5)


def test_scores_are_those_of_the_steps(judge):
    scores = judge.score(["Add 1.", "Add 2.", "Add 2.", "Add 2."], ["1 [0.8]\n\n#### 1\n", " \n", TOO_LONG, "2 [0.75]"])
    assert scores == [Scores((0.8, 0.8), 0.8), None, None, Scores((0.75,), 0.75)]
    assert judge.score([], []) == []


def test_what_has_no_score_has_the_lowest(judge):
    texts = ["1 [0.8]\nso [0.25]", "", TOO_LONG]
    assert judge.trace_scores(["Add 1."] * 3, texts) == [0.25, 0.0, 0.0]
    assert judge.step_scores(["Add 1."] * 3, texts) == [[0.8, 0.25], [0.0], [0.0]]


def test_rewards_know_the_step_rule_and_the_settings(judge):
    texts = ["[0.8]\n[0.25]\n#### 1\n[0.9]", "[0.8]\n#### 1", "", "[0.8]"]
    earned = judge.rewards(["Add 1."] * 4, texts, [True, False, True, True], {"credit": "progress"})
    assert [its.fault for its in earned] == [None, "unfinished", "empty", "no_answer"]
    assert earned[0].rewards == (0.8, 0.25 - 0.8, 0.0), "nothing is earned after the answer"
    with pytest.raises(TypeError, match="least_step"):
        judge.rewards([], [], rule={"least_step": 2})


def test_choices(judge):
    texts = ["[0.7]\n#### 3", "[0.5]\n#### 4", "[0.9]\n\\boxed{", "[0.3]\n#### 4.0", "", TOO_LONG]
    assert judge.choose("best_of_n", "Add 1.", texts) == 0
    assert judge.choose("weighted_vote", "Add 1.", texts) == 1, "0.5 + 0.3 is more than 0.7"
    assert judge.choose("best_of_n", "Add 1.", ["I give up.", ""]) is None
    assert judge.choose("weighted_vote", "Add 1.", ["I give up.", ""]) is None


def test_a_text_that_was_cut_has_no_answer(judge):
    assert judge.candidate("#### 3").usable
    cut = judge.candidate("so\n#### 3", finished=False)
    assert (cut.usable, cut.finished, cut.step_rule, cut.steps) == (False, False, "line", ("so", "#### 3"))


def test_it_is_loaded_once(reader, judge):
    assert load_text_verifier(reader, "line") is judge
    assert load_text_verifier(reader, "whole").split("a\nb") == ("a\nb",)


def test_the_step_rule_is_known_or_given(reader):
    with pytest.raises(ValueError, match="does not say how its training traces were divided"):
        load_text_verifier(reader)
    with pytest.raises(ValueError, match="'lines' is not one of"):
        load_text_verifier(reader, "lines")
    with pytest.raises(ValueError, match="skywork_prm:x was trained on steps by the rule line, step_rule is paragraph"):
        load_text_verifier("skywork_prm:x", "paragraph")


def test_threads_take_turns():
    class Slow:
        name, kind, num_parameters, busy = "slow", "prm", 0, False

        def score_batch(self, prompts, steps_N):
            assert not self.busy
            self.busy = True
            time.sleep(0.002)
            self.busy = False
            return [Scores((0.5,), 0.5) for _ in steps_N]

    judge = TextVerifier(Slow(), "line")
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda text: judge.trace_scores([text], [text]), "abcdefgh")) == [[0.5]] * 8


def test_an_exported_folder_says_its_step_rule(tmp_path):
    trace = Example("1 + 1?", ("2",), (5, 6), (1,), (0.5,))
    Scoring("qwen_prm", "prm", "", StepCodec(), (6,), "last", "float32", 1, "", (trace,), step_rule="paragraph").save(
        tmp_path
    )
    with pytest.raises(ValueError, match="was trained on steps by the rule paragraph, step_rule is line"):
        load_text_verifier(f"{tmp_path}@http://host:1", "line")
