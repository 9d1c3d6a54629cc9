from prm.sampling.symptoms import symptoms
from prm.types import Trace


def traces(n, *steps, **changes):
    settings = {"answer": "4", "correct": True, "step_rule": "paragraph"} | changes
    return [Trace("p/1", steps, index=i, **settings) for i in range(n)]


def test_traces_that_are_worth_something_raise_no_question():
    fine = traces(67, "2 + 2 = 4", "#### 4")
    assert symptoms(fine + traces(33, "#### answer"), 512) == []
    assert symptoms(traces(6, "2 + 2 = 4", "#### 4") + traces(3, "#### answer"), 512) == []  # a third
    assert symptoms(traces(5, "4", step_rule="whole"), 512) == []
    assert symptoms(traces(5, "The answer is 4."), 512, reasoning=False) == []
    assert symptoms([], 512) == []


def test_copied_placeholders_are_single_steps():
    (found,) = symptoms(traces(57, "#### answer", answer="answer") + traces(39, "2 + 2 = 4", "#### 4"), 300)
    assert found == (
        "57 of 96 traces (59%) are a single step, such as p/1#0 (it ends '#### answer'): is it the right --prompt"
        " (chat_cot for chat models) and --step_rule (now paragraph)?"
    )


def test_cut_traces_and_traces_without_an_answer_name_their_flag():
    cut = traces(4, "First", "Let us see whether", finished=False, answer=None)
    silent = traces(4, "First", "I cannot say.", answer=None)
    first, second = symptoms(cut + silent, 300)
    assert first.startswith("4 of 8 traces (50%) were cut at --max_new_tokens 300, such as p/1#0 (it ends 'Let us see")
    assert "raise it" in first
    assert second.startswith(
        "4 of 8 traces (50%) state no answer, such as p/1#0 (it ends 'I cannot say.'): does --prompt"
    )
