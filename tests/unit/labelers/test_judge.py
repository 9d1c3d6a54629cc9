"""The judge against critics whose words are known: what is asked, how answers are read, which of them count."""

import hashlib
from dataclasses import replace

import pytest

from prm.encoding.prompts import PROMPTS
from prm.generators import derive_seed
from prm.generators.chat import Answer, ChatCritic, GeneratorCritic
from prm.generators.endpoint import Endpoint, EndpointError
from prm.generators.hf import HfGenerator
from prm.generators.scripted import ScriptedGenerator
from prm.generators.token_text import OpenStep, TokenText
from prm.labelers.judge import Judge, judged, label_first_error
from prm.labelers.judge_prompt import judge_prompt, read_verdict
from prm.types import Problem, Trace

PROBLEM = Problem("p/0", "What is ${1 + 1}$?", "2", "p")
TRACE = Trace(PROBLEM.id, ("Let $problem be {problem}.", "1 + 1 = 3", "#### 3"), "3", False)


def run(judge, critic):
    """What the script does: ask until every verdict is there. Returns the answers in the order they came."""
    answers = []

    def commit(new):
        answers.extend(new)
        judge.add(new)

    while questions := judge.questions():
        critic.ask(questions, commit)
    return answers


def judge_and_answers(texts, **options):
    """A judge of TRACE, and its answers number 0, 1, ... with these texts; None is an answer that was cut."""
    judge = Judge([(PROBLEM, TRACE)], **options)
    (question, *_) = judge.questions()
    return judge, [
        Answer(question.key, i, 0, text or "First wrong paragraph: 1", text is not None, 10, 1)
        for i, text in enumerate(texts)
    ]


def says(place):
    return f"First wrong paragraph: {place}"


# ---- prompt and verdict


def test_prompt_numbers_paragraphs_from_one_and_changes_no_text():
    prompt = judge_prompt(PROBLEM.prompt, TRACE.steps)
    assert "<problem>\nWhat is ${1 + 1}$?\n</problem>" in prompt
    assert (
        "<solution>\n<paragraph_1>\nLet $problem be {problem}.\n</paragraph_1>\n<paragraph_2>\n1 + 1 = 3\n"
        "</paragraph_2>\n<paragraph_3>\n#### 3\n</paragraph_3>\n</solution>"
    ) in prompt


@pytest.mark.parametrize(
    ("answer", "place"),
    [
        ("First wrong paragraph: 1", 0),
        ("It is wrong.\n\n**First wrong paragraph: 3.**\n\n", 2),
        ("first wrong paragraph: None", -1),
        ("<think>\nFirst wrong paragraph: 1? No.\n</think>\nFirst wrong paragraph: 2", 1),
        ("First wrong paragraph: 4", None),  # there are three
        ("First wrong paragraph: 0", None),
        ("First wrong paragraph: -1", None),
        ("First wrong paragraph: 2\n\nI hope this helps!", None),  # it may go on to take that back
        ("First wrong paragraph: 2 or 3", None),
        ("So the first wrong paragraph: 2", None),
        (r"The answer is \boxed{2}.", None),
        ("First wrong paragraph: N", None),
        ("", None),
    ],
)
def test_only_a_last_line_in_the_asked_form_is_a_verdict(answer, place):
    assert read_verdict(answer, 3) == place


# ---- which answers count


def test_unreadable_answers_are_asked_again_with_another_seed():
    judge, answers = judge_and_answers(["no idea", None, says(2)], retries=3)
    seeds = []
    for answer in answers:
        (question,) = judge.questions()
        seeds.append((question.index, question.seed))
        judge.add([answer])
    assert judge.questions() == []
    assert seeds == [(i, derive_seed(0, "judge", question.key, i)) for i in range(3)]
    assert judge.verdict(PROBLEM, TRACE) == 1
    assert judge.report() == {
        "judged": 1,
        "answers": 3,
        "retries": 2,
        "unparsable": {"cut": 1, "no_verdict": 1},
        "prompt_tokens": 30,
        "generated_tokens": 3,
    }


def test_retries_end():
    judge, answers = judge_and_answers(["no idea"] * 3, retries=2)
    judge.add(answers[:2])
    assert [question.index for question in judge.questions()] == [2]
    judge.add(answers[2:])
    assert judge.questions() == []
    assert judge.verdict(PROBLEM, TRACE) == "unparsed"


def test_a_cut_answer_is_no_verdict_even_if_it_ends_like_one():
    judge, answers = judge_and_answers([None], retries=0)
    judge.add(answers)
    assert judge.verdict(PROBLEM, TRACE) == "unparsed"


@pytest.mark.parametrize(
    ("texts", "verdict"),
    [
        ([says(2), says(1), says(2)], 1),
        ([says("none"), says(1), says("none")], -1),
        ([says(1), "?", says(2), says(2)], 1),
        ([says(1), says(2), says(3)], "tie"),
        ([says(1), says(1), "?", "?"], "unparsed"),  # one retry, and two of three votes
    ],
)
def test_votes(texts, verdict):
    judge, answers = judge_and_answers(texts, votes=3, retries=1)
    judge.add(answers)
    assert judge.questions() == []
    assert judge.verdict(PROBLEM, TRACE) == verdict


def test_the_order_of_arrival_does_not_matter():
    """Of answers that came early only those count that would have been asked for."""
    judge, answers = judge_and_answers([says(1), says(2), says(3)], votes=1)
    judge.add(answers[1:])
    assert [question.index for question in judge.questions()] == [0]
    judge.add(answers[:1])
    assert judge.verdict(PROBLEM, TRACE) == 0
    assert judge.report()["answers"] == 1
    assert judge.report()["retries"] == Judge([(PROBLEM, TRACE)]).report()["retries"] == 0


def test_answers_on_disk_find_their_question_by_the_hash_of_its_text():
    """Another key would have every question asked, and paid for, again."""
    (question,) = Judge([(PROBLEM, TRACE)]).questions()
    assert question.prompt == judge_prompt(PROBLEM.prompt, TRACE.steps)
    assert question.key == hashlib.sha256(question.prompt.encode()).hexdigest()[:16]


def test_equal_traces_are_asked_once_and_unknown_answers_left_aside():
    twin = replace(TRACE, index=1, seed=5)
    judge = Judge([(PROBLEM, TRACE), (PROBLEM, twin)])
    assert (len(judge), len(judge.questions())) == (1, 1)
    judge.add([Answer("another key", 0, 0, says(1), True, 1, 1)])
    assert len(judge.questions()) == 1
    judge.add([Answer(judge.questions()[0].key, 0, 0, says(3), True, 1, 1)])
    assert judge.verdict(PROBLEM, twin) == judge.verdict(PROBLEM, TRACE) == 2


def test_votes_below_one_are_refused():
    with pytest.raises(ValueError, match="votes is 0"):
        Judge([], votes=0)


# ---- labels


def test_labels_end_with_the_first_error():
    assert label_first_error(TRACE, 1, "m").labels == (True, False, None)
    assert label_first_error(TRACE, 2, "m").labels == (True, True, False)
    assert label_first_error(TRACE, -1, "m").labels == (True, True, True)
    labeled = judged(TRACE, 0, "judge@1")
    assert (labeled.labels, labeled.semantics, labeled.method) == ((False, None, None), "correctness", "judge@1")
    assert labeled.values is labeled.counts is None


def test_no_error_in_a_trace_that_ended_wrong_is_no_label():
    assert judged(TRACE, -1, "m") == "missed_error"
    for correct in (True, None):
        assert judged(replace(TRACE, correct=correct), -1, "m").labels == (True, True, True)


def test_a_right_answer_does_not_excuse_a_wrong_step():
    assert judged(replace(TRACE, correct=True), 1, "m").labels == (True, False, None)


# ---- critics


def cases(n):
    return [(PROBLEM, Trace(PROBLEM.id, (f"step {i}", "#### 3"), "3", False, index=i)) for i in range(n)]


def oracle(prompt, seed):
    """Readable one time in two; the odd traces have their first error at paragraph 1."""
    if seed % 2:
        return "Let me think\nabout it."
    number = int(prompt.split("step ")[1].split()[0])
    return f"Checked.\n{says('1' if number % 2 else '2')}"


@pytest.fixture(scope="module")
def faultless(chat_server):
    """Answers of a server that never fails, as a sorted list."""
    with chat_server(oracle) as server:
        judge = Judge(cases(20), retries=10)
        answers = run(judge, ChatCritic(Endpoint(server.url), "critic", batch_size=4))
        assert len(server.answered) == len(answers)
        return sorted(answers, key=lambda answer: (answer.key, answer.index))


def test_chat_critic_sends_what_it_is_asked(chat_server):
    with chat_server(lambda prompt, seed: says(2)) as server:
        judge = Judge([(PROBLEM, TRACE)])
        (question,) = judge.questions()
        (answer,) = run(judge, ChatCritic(Endpoint(server.url), "critic", temperature=0.5, top_p=0.9, max_new_tokens=7))
    assert server.bodies == [
        {
            "model": "critic",
            "temperature": 0.5,
            "top_p": 0.9,
            "max_tokens": 7,
            "messages": [{"role": "user", "content": question.prompt}],
            "seed": question.seed,
        }
    ]
    assert answer == Answer(question.key, 0, question.seed, says(2), True, len(question.prompt.split()), 1)


@pytest.mark.slow
def test_a_failing_server_changes_no_answer(chat_server, faultless, monkeypatch):
    monkeypatch.setattr("prm.generators.endpoint.FIRST_WAIT", 0.01)
    faults = ["429", None, "500", None, "half", None, "garbage", None, "no usage", None]
    with chat_server(oracle, faults) as server:
        critic = ChatCritic(Endpoint(server.url), "critic", batch_size=4)
        judge = Judge(cases(20), retries=10)
        answers = run(judge, critic)
    assert sorted(answers, key=lambda answer: (answer.key, answer.index)) == faultless
    assert [judge.verdict(*case) for case in cases(20)] == [1, 0] * 10
    causes = {name for name, count in critic.ledger.items() if name.startswith("retry") and count}
    assert causes == {"retry: status 429", "retry: status 500", "retry: broken answer", "retry: malformed answer"}
    assert critic.ledger["requests"] == len(faultless) + sum(critic.ledger[cause] for cause in causes)


def test_what_a_server_refuses_names_the_trace(chat_server):
    with (
        chat_server(oracle) as server,
        pytest.raises(EndpointError, match=r"judging p/0#0: .* status 404.*no such model"),
    ):
        run(Judge([(PROBLEM, TRACE)]), ChatCritic(Endpoint(server.url), "other"))


def test_a_dead_server_is_an_error_in_bounded_time():
    critic = ChatCritic(Endpoint("http://127.0.0.1:9/v1", patience=0.2), "critic")
    with pytest.raises(EndpointError, match=r"127\.0\.0\.1:9/v1/chat/completions failed .* start this command again"):
        run(Judge([(PROBLEM, TRACE)]), critic)


def test_what_was_answered_before_an_error_is_committed(chat_server):
    committed = []
    with chat_server(oracle, [None, None, "500"]) as server:
        critic = ChatCritic(Endpoint(server.url, patience=0.1), "critic", batch_size=1)
        questions = Judge(cases(5)).questions()
        with pytest.raises(EndpointError, match="status 500"):
            critic.ask(questions, committed.extend)
    assert [answer.key for answer in committed] == [question.key for question in questions[:2]]


def test_generator_critic_says_the_same_as_the_chat_server(faultless):
    critic = GeneratorCritic(
        ScriptedGenerator(lambda prefix, seed: oracle(prefix, seed), step_rule="whole"), batch_size=3
    )
    judge = Judge(cases(20), retries=10)
    answers = sorted(run(judge, critic), key=lambda answer: (answer.key, answer.index))
    assert [(a.key, a.index, a.seed, a.text) for a in answers] == [(a.key, a.index, a.seed, a.text) for a in faultless]
    assert [judge.verdict(*case) for case in cases(20)] == [1, 0] * 10


def test_generator_critic_counts_tokens_and_commits_whole_batches():
    generator = ScriptedGenerator(lambda prefix, seed: says(2), step_rule="whole")
    commits = []
    GeneratorCritic(generator, batch_size=2).ask(Judge(cases(5)).questions(), commits.append)
    assert [len(answers) for answers in commits] == [2, 2, 1]
    assert commits[0][0].generated_tokens == len("First wrong paragraph: 2")
    assert commits[0][0].prompt_tokens == len(Judge(cases(1)).questions()[0].prompt) + 1


def test_a_model_is_asked_through_its_chat_template(tiny_llama, plain_tokenizer):
    model = tiny_llama(len(plain_tokenizer))
    settings = {"template": PROMPTS["chat"], "step_rule": "whole", "max_new_tokens": 5}
    generator = HfGenerator(model, plain_tokenizer, name="tiny", **settings)
    assert plain_tokenizer.decode(generator.encode("Right?")) == "<|user|>\nRight?<eos>\n<|assistant|>\n"
    # The question is longer than the 512 positions of this model: no answer is readable, and the trace stays unlabeled.
    judge = Judge([(PROBLEM, TRACE)])
    run(judge, GeneratorCritic(generator))
    assert judge.verdict(PROBLEM, TRACE) == "unparsed"


def test_a_folder_becomes_a_critic_that_is_asked_by_chat_and_may_quote_answers(tiny_llama, plain_tokenizer, tmp_path):
    tiny_llama(len(plain_tokenizer)).save_pretrained(tmp_path)
    plain_tokenizer.save_pretrained(tmp_path)
    critic = GeneratorCritic.from_pretrained(str(tmp_path), batch_size=3, max_new_tokens=5, temperature=0.25)
    generator = critic.generator
    assert plain_tokenizer.decode(generator.encode("Right?")) == "<|user|>\nRight?<eos>\n<|assistant|>\n"
    assert (generator.step_rule, generator.max_new_tokens, generator.temperature) == ("whole", 5, 0.25)
    assert critic.batch_size == generator.batch_size == 3
    assert critic.name == generator.name


def test_a_quoted_answer_ends_a_trace_but_no_critique(plain_tokenizer):
    ids = plain_tokenizer("#### 3\n", add_special_tokens=False)["input_ids"]

    def stop(rule):
        text, step = TokenText(plain_tokenizer, template=PROMPTS["chat"], step_rule=rule, end_ids=()), OpenStep()
        return [text.stop(token, "end", step) for token in ids][-1]

    assert [stop(rule) for rule in ("line", "whole")] == ["answer", None]


@pytest.mark.parametrize(
    "bold", ["**First wrong paragraph: 2**", "** First wrong paragraph: 2 **", " First wrong paragraph: 2 "]
)
def test_bold_type_and_blanks_around_a_verdict_are_allowed(bold):
    assert read_verdict(f"Fine so far.\n{bold}\n", 3) == 1
