"""The second call of zero-shot chain of thought: what is asked, what is read, what it costs, and that every user agrees."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest

from prm.costs import generation_cost
from prm.encoding.prompts import PROMPTS, PromptTemplate
from prm.generators import load_generator
from prm.generators.answer_call import ANSWER_TOKENS, AnswerCall
from prm.generators.scripted import GREEDY, ScriptedGenerator
from prm.labelers import run
from prm.labelers.monte_carlo import MonteCarlo
from prm.models.kept_tokens import KeptTokens
from prm.sampling.rollouts import Request, RolloutSource
from prm.sampling.traces import trace_from_rollout
from prm.search.driver import search
from prm.search.methods import parse_method
from prm.storage.answered_requests import AnsweredRequests
from prm.types import Budget, Continuation, Problem, Scores

PROBLEM = Problem("p/1", "Ann has 48 clips and buys half as many. How many?", "72", "p")
TEMPLATE = PromptTemplate("{prompt}\n", trigger="Therefore, the answer is")
DIRECT = PromptTemplate("{prompt}\n", trigger="The answer is", reasoning=False)
REASON = "47 - 12 = 35\n35 + 28, carry 1 = 63"
REASONING = "48 / 2 = 24\n48 + 24 = 72\n"


def characters(text):
    return [ord(character) for character in text]


def asked(script, template=TEMPLATE, **settings):
    """A scripted generator with the calls for its answers; `script(prefix, seed)` is asked for both."""
    return AnswerCall(ScriptedGenerator(script, **settings), template, characters)


def student(prefix, seed):
    """Reasons; if asked, says what the last line has."""
    if not prefix.endswith("the answer is"):
        return REASONING
    return " 72 clips.\nAnd more"


def test_two_calls_by_hand():
    generator = asked(student)
    prefix = generator.encode(PROBLEM.prompt)
    (found,) = generator.generate([prefix], [5])
    question = REASONING + "Therefore, the answer is"
    assert found == Continuation(
        tuple(map(ord, REASONING + " 72 clips.\n")),  # what was sampled: the trigger was not
        question + " 72 clips.",
        "answer",
        prefill=len(prefix),
        asked=len(prefix) + len(question),
    )
    # The reasoning has the seed of the sample; the answer is the most likely one.
    inner = generator._generator
    assert inner.calls == [(PROBLEM.prompt + "\n", 5), (PROBLEM.prompt + "\n" + question, GREEDY)]
    assert generator.ledger == {
        "answers asked for": 1,
        "tokens of these answers": 11,
        "answers asked for after a cut": 0,
    }


def test_the_last_step_states_the_answer_that_was_asked_for():
    """Also after a reasoning that states another one."""
    generator = asked(lambda prefix, seed: " 72" if prefix.endswith("is") else "Half of 48 is 24.\n#### 24\n")
    (rollouts,) = RolloutSource(generator, 0).take([Request(PROBLEM, (), 1)])
    trace = trace_from_rollout(rollouts[0], (), generator)
    assert trace.steps == ("Half of 48 is 24.", "#### 24", "Therefore, the answer is 72")
    assert (trace.answer, trace.correct, trace.finished, trace.status) == ("72", True, True, "ok")
    assert trace.num_tokens == len("Half of 48 is 24.\n#### 24\n") + len(" 72")


@pytest.mark.parametrize("trigger", ["Therefore, the answer is", "Therefore, the answer (arabic numerals) is"])
@pytest.mark.parametrize("said", [" 72.", " $72.", ": 72", " 72 clips.", r" \boxed{72}.", " 72, because 48 + 24 = 72."])
def test_the_answer_is_read_however_it_is_said(trigger, said):
    template = replace(TEMPLATE, trigger=trigger)
    generator = asked(lambda prefix, seed: said if prefix.endswith("is") else "I take 5 of 9.\n", template)
    (rollouts,) = RolloutSource(generator, 0).take([Request(PROBLEM, (), 1)])
    assert rollouts[0].outcome == "correct"


def test_a_reasoning_that_was_cut_is_asked_too():
    def script(prefix, seed):
        return " 72.\n" if prefix.endswith("is") else "1 + 1 = 2\n" * 50

    generator = asked(script, max_new_tokens=25)
    assert generator.max_new_tokens == 25 + ANSWER_TOKENS
    (found,) = generator.generate([generator.encode("a")], [0])
    assert found.text == "1 + 1 = 2\n1 + 1 = 2\n1 + 1\nTherefore, the answer is 72."
    assert (len(found.token_ids), found.stop) == (25 + 5, "answer")
    assert generator.ledger["answers asked for after a cut"] == 1


def test_an_answer_has_few_tokens():
    generator = asked(lambda prefix, seed: " 7" * 99 if prefix.endswith("is") else "So.")
    (found,) = generator.generate([generator.encode("a")], [0])
    assert found.text == "So.\nTherefore, the answer is" + " 7" * (ANSWER_TOKENS // 2)
    assert (len(found.token_ids), found.stop) == (3 + ANSWER_TOKENS, "answer")


def test_what_an_engine_takes_for_the_number_of_an_item_is_an_answer():
    """It sees "72." alone and goes on, which is paid for; the step ends there all the same."""
    generator = asked(lambda prefix, seed: " 72.\nAnd\nmore" if prefix.endswith("is") else "So.")
    (found,) = generator.generate([generator.encode("a")], [0])
    assert (found.text, len(found.token_ids)) == ("So.\nTherefore, the answer is 72.", 3 + len(" 72.\nAnd\n"))


@pytest.mark.parametrize("limit", [1, 2, 20, ANSWER_TOKENS, 40, 60])
def test_a_limit_holds_for_both_calls_together(limit):
    generator = asked(lambda prefix, seed: " 7" * 99 if prefix.endswith("is") else "1 + 1 = 2\n" * 50)
    (found,) = generator.generate([generator.encode("a")], [0], limits=[limit])
    assert len(found.token_ids) == limit
    assert found.stop == ("length" if limit == 1 else "answer")  # no token is left to ask with


def test_a_reasoning_that_fills_the_context_stays_cut():
    generator = asked(lambda prefix, seed: "1 + 1 = 2\n" * 50, max_new_tokens=50)
    generator.context = 60
    (found,) = generator.generate([generator.encode("a")], [0])
    assert (found.stop, found.asked, len(found.token_ids)) == ("length", 0, 50)


def test_the_second_call_reads_its_text_again_beside_what_a_search_keeps():
    generator = asked(lambda prefix, seed: " 72\n" if prefix.endswith("the answer is") else "48 / 2 = 24")
    given, generate = [], generator._generator.generate

    def record(*args, kept=None):
        given.append(kept)
        return [replace(found, keeps=kept is not None) for found in generate(*args)]

    generator._generator.generate = record
    kept, prefix = KeptTokens(), generator.encode(PROBLEM.prompt)
    (found,) = generator.generate([prefix], [5], until="step", kept=kept)
    question = len("48 / 2 = 24\nTherefore, the answer is")
    assert given == [kept, None]
    assert (found.keeps, found.prefill, found.asked) == (True, len(prefix), len(prefix) + question)


def test_a_direct_answer_is_one_sampled_call():
    generator = asked(lambda prefix, seed: f" {seed} clips\nmore", DIRECT)
    prefix = generator.encode(PROBLEM.prompt)
    found = generator.generate([prefix] * 2, [7, 8])
    read = len(prefix) + len("The answer is")
    assert found == [
        Continuation(tuple(map(ord, f" {seed} clips\n")), f"The answer is {seed} clips", "answer", prefill=read)
        for seed in (7, 8)
    ]
    assert [seed for _, seed in generator._generator.calls] == [7, 8]
    assert generator.max_new_tokens == ANSWER_TOKENS
    cost = generation_cost([tuple(prefix)] * 2, found, num_parameters=10)
    assert (cost.generated_tokens, cost.prompt_tokens, cost.generator_calls) == (18, read, 2)


def test_a_text_that_ends_in_its_line_has_a_blank_before_the_trigger():
    generator = asked(
        lambda prefix, seed: " 4.", PromptTemplate("Q: {prompt}\nA:", trigger="The answer is", reasoning=False)
    )
    generator.generate([characters("Q: 2 + 2?\nA:")], [0])
    assert generator._generator.calls == [("Q: 2 + 2?\nA: The answer is", 0)]


def test_what_the_second_call_reads_is_charged_to_its_trace():
    """A prompt is read once for all samples; prompt, reasoning and trigger once more for each of them."""

    def script(prefix, seed):
        return " 72." if prefix.endswith("is") else "So.\n" * (1 + seed % 2)

    generator = asked(script)
    generator.num_parameters = 10
    problems = [PROBLEM, replace(PROBLEM, id="p/2", prompt="What is 70 + 2?")]
    (result, other) = search(parse_method("majority", []), problems, generator, None, Budget(4), seed=1)
    trigger = len("Therefore, the answer is")
    for found, problem in ((result, problems[0]), (other, problems[1])):
        prompt = len(problem.prompt) + 1
        reasoning = [trace.num_tokens - len(" 72.") for trace in found.candidates]
        assert found.cost.generated_tokens == sum(reasoning) + 4 * len(" 72.")
        assert found.cost.prompt_tokens == prompt + sum(prompt + tokens + trigger for tokens in reasoning)
        assert found.cost.generator_calls == 8
        assert found.cost.flops == 20 * (found.cost.generated_tokens + found.cost.prompt_tokens)
        assert found.correct
    alone = search(parse_method("majority", []), problems[1:], generator, None, Budget(4), seed=1)
    assert [replace(r, cost=replace(r.cost, seconds=0)) for r in alone] == [
        replace(other, cost=replace(other.cost, seconds=0))
    ]


def test_a_killed_search_knows_what_it_was_charged(tmp_path):
    results = []
    for _ in range(2):
        generator = asked(student)
        answered = AnsweredRequests(tmp_path / "requests.journal", {})
        results += search(parse_method("majority", []), [PROBLEM], generator, None, Budget(3), 0, answered)
        calls = Counter(seed == GREEDY for _, seed in generator._generator.calls)
    assert calls == {}  # the second run asked for nothing
    assert results[0] == results[1]
    assert results[0].cost.generator_calls == 6


class Longest:
    """Likes steps that come late."""

    name, kind, num_parameters = "longest", "prm", 0

    def score_batch(self, prompts, steps_N):
        return [Scores((0.5,) * len(steps), min(1.0, 0.1 * len(steps)), 1) for steps in steps_N]


@pytest.mark.parametrize("method", ["beam_search prm width=2", "mcts prm", "lookahead_search prm width=2"])
def test_a_search_step_by_step_asks_where_a_trace_ends(method):
    lines = ["48 / 2 = 24\n", "48 + 24 = 72\n", ""]

    def script(prefix, seed):
        return " 72.\n" if prefix.endswith("is") else "".join(lines[prefix.count("\n") - 1 :])

    generator = asked(script)
    (found,) = search(parse_method(method, ["prm"]), [PROBLEM], generator, Longest(), Budget(4), seed=0)
    assert found.candidates[found.chosen].steps == ("48 / 2 = 24", "48 + 24 = 72", "Therefore, the answer is 72.")
    assert found.correct
    assert all(step.startswith("Therefore") == (i == 2) for t in found.candidates for i, step in enumerate(t.steps))
    questions = [prefix for prefix, _ in generator._generator.calls if prefix.endswith("is")]
    assert set(questions) == {PROBLEM.prompt + "\n" + "".join(lines) + "Therefore, the answer is"}


def test_labels_come_from_rollouts_that_are_asked_too():
    """The value of a step is the chance that the reasoning after it leads to the right answer in the second call."""

    def script(prefix, seed):
        if prefix.endswith("is"):
            return " 72." if "48 + 24" in prefix else " 24."
        return "" if "+" in prefix or "-" in prefix else ("48 + 24 = 72\n" if seed % 2 else "48 - 24 = 24\n")

    generator = asked(script)
    source = RolloutSource(generator, 3)
    (rollouts,) = source.take([Request(PROBLEM, (), 8)])
    traces = [trace_from_rollout(rollout, (), generator) for rollout in rollouts]
    right = next(trace for trace in traces if trace.correct)
    ((labeled,),) = run(MonteCarlo(8), [(PROBLEM, [right])], source)
    assert right.steps == ("48 + 24 = 72", "Therefore, the answer is 72.")
    assert labeled.counts == ((8, 8), (1, 1))


def test_nothing_that_was_sampled_is_asked_for_again():
    kept = []
    generator = asked(student)
    first = RolloutSource(generator, 0, commit=kept.extend).take([Request(PROBLEM, (), 2)])
    calls = len(generator._generator.calls)
    assert calls == 4
    again = RolloutSource(generator, 0, known=kept).take([Request(PROBLEM, (), 3)])
    assert again[0][:2] == first[0]
    assert len(generator._generator.calls) == calls + 2  # both calls of the third one


def test_a_rule_that_looks_ahead_can_be_asked(monkeypatch):
    generator = asked(lambda prefix, seed: " 72." if prefix.endswith("is") else "Hm.\n\nWait, 72?", step_rule="thought")
    (found,) = generator.generate([generator.encode("a")], [0])
    assert found.text == "Hm.\n\nWait, 72?\n\nTherefore, the answer is 72."


def test_a_template_with_a_trigger_makes_two_calls_on_every_engine():
    """Of the embedded model, which goes on from the trigger it knows: the line that states the answer."""
    template = PromptTemplate("{prompt}\n", trigger="#### ")
    one = load_generator("arithmetic", temperature=0)
    two = load_generator("arithmetic", temperature=0, template=template)
    assert isinstance(two, AnswerCall)
    assert not isinstance(one, AnswerCall)
    assert (two.name == one.name, two.num_parameters == one.num_parameters, two.context) == (False, True, 256)
    prefix = two.encode("Start with 47, subtract 12, add 28.")
    (single,), (found,) = one.generate([prefix], [0]), two.generate([prefix], [0])
    assert (single.text, found.text) == (f"{REASON}\n#### 63", f"{REASON}\n#### 63\n#### 63")
    assert found.asked == len(prefix) + len(single.token_ids) + 1  # a line end for the end token, and the trigger


def test_templates_that_cannot_ask():
    with pytest.raises(ValueError, match="reasoning: false needs a trigger, the text that asks for the answer"):
        PromptTemplate(reasoning=False)
    with pytest.raises(ValueError, match="needs a prompt template with a trigger"):
        asked(student, PROMPTS["plain"])
    assert PROMPTS["zero_shot_cot"].trigger == "Therefore, the answer is"
    assert PROMPTS["zero_shot_cot"].render("2 + 2?") == "Q: 2 + 2?\nA: Let's think step by step.\n"


def test_the_trigger_is_no_beginning_of_a_text(trimming_tokenizer, monkeypatch, tmp_path):
    """A tokenizer that begins its texts with a BOS token does not put one before the trigger."""
    monkeypatch.setattr("prm.generators.answer_call.AnswerCall", lambda generator, template, encode: encode)
    monkeypatch.setattr(
        "prm.generators.hf.HfGenerator.from_pretrained",
        lambda path, **settings: SimpleNamespace(tokenizer=trimming_tokenizer),
    )
    encode = load_generator(str(tmp_path), template=TEMPLATE)
    assert trimming_tokenizer.bos_token_id not in encode("4")
    assert trimming_tokenizer.decode(encode("4")) == "4"
