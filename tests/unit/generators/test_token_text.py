"""Seeds, token ids of steps, the scripted generator, and traces built from what a generator wrote."""

import hashlib
import random
from collections import Counter
from dataclasses import replace
from itertools import product

import pytest

from prm import answers
from prm.answers import states_answer
from prm.datasets import arithmetic
from prm.encoding.prompts import PromptTemplate
from prm.encoding.steps import complete_steps
from prm.generators import derive_seed
from prm.generators.scripted import ScriptedGenerator
from prm.generators.token_text import OpenStep, TokenText
from prm.sampling.traces import cut, grow, open_trace, trace_seed
from prm.types import Continuation, Problem

PROBLEMS = [Problem(f"p/{i}", f"What is {i} + {i}?", str(2 * i), "p") for i in (1, 2, 3)]


def test_derive_seed_is_a_stable_hash():
    """Stored rollouts can be sampled again only as long as these values never change."""
    digest = hashlib.sha256(b"7\x1fgsm8k/train/17\x1f2\x1f5").digest()
    assert derive_seed(7, "gsm8k/train/17", 2, 5) == int.from_bytes(digest[:8], "big") // 2
    assert derive_seed(0) == 0x5FECEB66FFC86F38 // 2  # the SHA-256 of "0"
    assert 0 <= derive_seed(1, "x") < 2**63


def test_derive_seed_differs_wherever_the_place_differs():
    places = [(run, problem, i, j) for run in range(3) for problem in "ab" for i in range(12) for j in range(12)]
    assert len({derive_seed(*place) for place in places}) == 864
    assert derive_seed(0, "a", 1, 11) != derive_seed(0, "a", 11, 1) != derive_seed(0, "a", 111)
    assert derive_seed(0, "a1") != derive_seed(0, "a", 1)


def test_only_the_prompt_begins_with_the_token_that_begins_texts(trimming_tokenizer):
    text = TokenText(trimming_tokenizer, template=PromptTemplate(), step_rule="paragraph", end_ids=None)
    ids = text.encode("4", ["8.", "x"])
    assert trimming_tokenizer.convert_ids_to_tokens(ids) == ["<bos>", "4", "Ċ", "8", ".ĊĊ", "x", "ĊĊ"]


def test_a_model_may_write_ids_that_its_tokenizer_does_not_have(plain_tokenizer):
    """The rows of its embedding are often more, up to the next multiple of 64 or 128."""
    text = TokenText(plain_tokenizer, template=PromptTemplate(), step_rule="line", end_ids=None)
    line = plain_tokenizer("x = 4\n", add_special_tokens=False)["input_ids"]

    def stop(ids):
        step = OpenStep()
        return [text.stop(token, "step", step) for token in ids][-1]

    assert stop(line) == "step"
    for extra in (len(plain_tokenizer), len(plain_tokenizer) + 1):
        assert stop([*line[:-1], extra]) is None


def test_a_token_begins_after_its_blanks(merging_tokenizer):
    text = TokenText(merging_tokenizer, template=PromptTemplate(), step_rule="line", end_ids=None)
    ids = merging_tokenizer("4 +\n8.\n", add_special_tokens=False)["input_ids"]
    assert merging_tokenizer.convert_ids_to_tokens(ids) == ["4", "Ġ+", "Ċ", "8", ".Ċ"]
    assert text.places(ids, [0.1, 0.2, 0.3, 0.4, 0.5], [ids[1], ids[3]]) == ((2, 3, 0.2), (4, 5, 0.4))


def ends(tokenizer, template, text, until="end", rule="line"):
    """Why and where a text ends that is sampled token by token, and what it says."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    engine = TokenText(tokenizer, template=template, step_rule=rule, end_ids=None)
    step = OpenStep()
    for n, token in enumerate(ids, 1):
        if (stop := engine.stop(token, until, step)) is not None:
            return stop, tokenizer.decode(ids[:n]), engine.text(ids[:n])
    return None, text, engine.text(ids)


def test_a_base_model_that_goes_on_to_another_problem_has_ended(plain_tokenizer, merging_tokenizer):
    """The beginning of that problem was sampled and is no part of the trace."""
    template = PromptTemplate("Q: {prompt}\nA:")
    for tokenizer in (plain_tokenizer, merging_tokenizer):
        for between in ("\n", "\n\n", "\n  "):
            text = f" 48 + 24 is{between}"
            assert ends(tokenizer, template, text + "Q: Let x be 4.\nA: 7") == ("eos", text + "Q:", text.rstrip(" "))
        assert ends(tokenizer, template, " Q: Let x be 4.") == ("eos", " Q:", "")
        assert ends(tokenizer, template, " So FAQ: Q: x\nThe Q: x\n")[0] is None  # not where a line begins
        stop, sampled, said = ends(tokenizer, template, " #### 7\n\nQ: x")
        assert (stop, sampled.rstrip(), sampled) == ("answer", " #### 7", said)  # "\n\n" may be one token
        assert ends(tokenizer, template, " x is 4\nQ: x", until="step") == ("step", " x is 4\n", " x is 4\n")
        assert ends(tokenizer, template, "Q: x\n", until="step") == ("eos", "Q:", "")
        assert ends(tokenizer, template, " x is 4\nQ: x\n\n", rule="whole") == ("eos", " x is 4\nQ:", " x is 4\n")
        assert ends(tokenizer, PromptTemplate(), " x is 4\nQ: x\n")[0] is None  # this template names no problem
        chat = PromptTemplate("Q: {prompt}\nA:", chat=True)
        assert ends(tokenizer, chat, " x is 4\nQ: x\n")[0] is None


def test_a_step_after_a_text_that_ends_in_its_line_has_the_blank_that_was_sampled(plain_tokenizer):
    def text(template):
        engine = TokenText(plain_tokenizer, template=template, step_rule="line", end_ids=None)
        return plain_tokenizer.decode(engine.encode("Hm?", ["x is 4", "#### 4"]))

    assert text(PromptTemplate("Q: {prompt}\nA:")) == "Q: Hm?\nA: x is 4\n#### 4\n"
    assert text(PromptTemplate("Q: {prompt}\nA:\n")) == "Q: Hm?\nA:\nx is 4\n#### 4\n"


def test_scripted_generator_continues_text():
    generator = ScriptedGenerator(lambda prefix, seed: f"seed {seed}\n#### {len(prefix)}")
    prefix = generator.encode("ab", ["x = 1"])
    assert "".join(map(chr, prefix)) == "ab\nx = 1\n"
    step, end = generator.generate([prefix], [5], until="step") + generator.generate([prefix], [6])
    assert step == Continuation(tuple(map(ord, "seed 5\n")), "seed 5\n", "step", prefill=9)
    assert end == Continuation(tuple(map(ord, "seed 6\n#### 9")), "seed 6\n#### 9", "eos", prefill=9)
    assert generator.calls == [("ab\nx = 1\n", 5), ("ab\nx = 1\n", 6)]
    answered = ScriptedGenerator(lambda prefix, seed: "#### 4\nmore").generate([prefix], [0], until="step")
    assert answered[0].text == "#### 4\n"
    assert answered[0].stop == "answer"
    with pytest.raises(ValueError, match="zip"):
        generator.generate([prefix], [1, 2])


def whole_traces(problems, script, n, seed, first=0):
    """`n` traces of each problem, as labeling and search sample them."""
    generator = ScriptedGenerator(script, name="student")
    parents = [
        [replace(open_trace(p), seed=trace_seed(seed, p.id, i), index=i) for i in range(first, first + n)]
        for p in problems
    ]
    prefixes = [generator.encode(p.prompt) for p in problems for _ in range(n)]
    flat = [parent for parents_N in parents for parent in parents_N]
    continuations = generator.generate(prefixes, [parent.seed for parent in flat])
    traces = grow(flat, continuations, [p for p in problems for _ in range(n)], generator)
    return [traces[i * n : (i + 1) * n] for i in range(len(problems))]


def test_sampled_traces_by_hand():
    def script(prefix, seed):
        n = int(prefix.split()[2])
        return f"{n} + {n} = {2 * n}\n#### {2 * n if n != 2 else 5}"

    traces_P = whole_traces(PROBLEMS, script, 2, seed=9)
    assert [[(t.id, t.answer, t.correct) for t in traces] for traces in traces_P] == [
        [("p/1#0", "2", True), ("p/1#1", "2", True)],
        [("p/2#0", "5", False), ("p/2#1", "5", False)],
        [("p/3#0", "6", True), ("p/3#1", "6", True)],
    ]
    trace = traces_P[2][1]
    assert trace.steps == ("3 + 3 = 6", "#### 6")
    assert (trace.generator, trace.num_tokens, trace.status, trace.finished) == ("student", 16, "ok", True)
    assert trace.seed == derive_seed(9, "p/3", "trace", 1)


def test_a_trace_depends_on_its_own_number_only():
    def script(prefix, seed):
        return f"#### {seed}"

    many = whole_traces(PROBLEMS, script, 5, seed=1)
    assert whole_traces(PROBLEMS[1:2], script, 2, seed=1, first=3) == [many[1][3:]]
    assert whole_traces(PROBLEMS, script, 5, seed=2)[0][0].seed != many[0][0].seed
    assert len({trace.seed for traces in many for trace in traces}) == 15


def test_one_step_grows_an_open_trace_until_it_ends():
    generator = ScriptedGenerator(lambda prefix, seed: "", name="student")
    problem, root = PROBLEMS[1], open_trace(PROBLEMS[1])

    def step(parent, text, stop):
        (child,) = grow(
            [parent], [Continuation(tuple(map(ord, text)), text, stop)], [problem], generator, one_step=True
        )
        return child

    first = step(root, "2 + 2 = 4\n", "step")
    assert (first.steps, first.status, first.finished, first.answer, first.num_tokens) == (
        ("2 + 2 = 4",),
        "open",
        False,
        None,
        10,
    )
    done = step(first, "#### 4\n", "answer")
    assert (done.steps, done.status, done.finished, done.answer, done.correct) == (
        ("2 + 2 = 4", "#### 4"), "ok", True, "4", True,
    )  # fmt: skip
    assert (done.num_tokens, done.usable, first.usable) == (17, True, False)
    blank = step(first, "\n", "step")  # nothing but a line end: it would be sampled again for ever
    assert (blank.steps, blank.finished, blank.status) == (("2 + 2 = 4",), True, "ok")
    assert step(first, "2 +", "length").status == "truncated"
    assert (cut(first).status, cut(first).correct, cut(root).status) == ("truncated", False, "no_steps")


def test_every_reason_why_a_trace_cannot_be_used_is_its_status(monkeypatch):
    monkeypatch.setattr(
        answers,
        "check_many",
        lambda golds, preds: ["no_answer" if pred is None else str(pred).split("-")[0] for pred in preds],
    )
    texts = ["#### correct-1", "#### wrong-1", "hm", "", "#### 2", "#### timeout-1", "#### error-1"]
    continuations = [
        Continuation((0,) * i, text, "length" if text == "#### 2" else "eos") for i, text in enumerate(texts)
    ]
    generator = ScriptedGenerator(lambda prefix, seed: "")
    traces = grow([open_trace(PROBLEMS[0])] * 7, continuations, PROBLEMS[:1] * 7, generator)
    assert [trace.status for trace in traces] == ["ok", "ok", "no_answer", "no_steps", "truncated", "timeout", "error"]
    assert [trace.correct for trace in traces] == [True, False, False, False, False, None, None]
    assert [trace.answer is None for trace in traces] == [False, False, True, True, True, False, False]
    assert [trace.num_tokens for trace in traces] == [0, 1, 2, 3, 4, 5, 6]


def defined_stop(engine, ids, until):
    """The rule as a definition: it reads the whole continuation at every token."""
    if ids[-1] in engine.end_ids:
        return "eos"
    text = engine.tokenizer.decode(ids)
    if engine.text(ids) != text:  # another problem begins
        return "eos"
    closed = complete_steps(text, engine.step_rule)
    if closed and states_answer(closed[-1]):
        return "answer"
    return "step" if closed and until == "step" else None


PIECES = (
    " x", "4", ".", "#### 7\n", "\nQ:", "\n", "\n", "\n\n", "\r\n", "\n \n", " ", "\t", ":", "\\[", "\\]", "$$", "```",
    "```output", "**b**", "1.", "#### 7", "#### Step 1: add", "Q:", "A:", "The answer is 7.", "é", "数", "\u00a0", "\u2028",
    "🙂",
)  # fmt: skip


def test_where_a_text_ends_is_seen_by_its_new_tokens_as_by_all_of_them(
    plain_tokenizer, merging_tokenizer, trimming_tokenizer
):
    rng = random.Random(0)
    templates = PromptTemplate("Q: {prompt}\nA:"), PromptTemplate()
    reasons = Counter()
    for tokenizer in (plain_tokenizer, merging_tokenizer, trimming_tokenizer, arithmetic.build_tokenizer()):
        for template, rule in product(templates, ("line", "paragraph", "thought", "whole")):
            engine = TokenText(tokenizer, template=template, step_rule=rule, end_ids=None)
            for i in range(14):
                if i % 2:  # any tokens, so that characters are broken, too
                    ids = rng.choices(range(len(tokenizer)), k=40)
                else:
                    text = "".join(rng.choices(PIECES, k=rng.randint(1, 25)))
                    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
                for until in ("step", "end"):
                    step = OpenStep()
                    for n, token in enumerate(ids, 1):
                        found = engine.stop(token, until, step)
                        assert found == defined_stop(engine, ids[:n], until), (tokenizer.decode(ids[:n]), rule, until)
                        reasons[found] += 1
                        if found:
                            break
    assert min(reasons[reason] for reason in ("eos", "answer", "step", None)) > 10


@pytest.mark.parametrize("rule", ["line", "paragraph", "whole"])
def test_the_end_of_a_long_text_is_found_by_reading_its_tokens_about_once(plain_tokenizer, monkeypatch, rule):
    """A formula that is opened and never closed is one step, of all lines that follow."""
    engine = TokenText(plain_tokenizer, template=PromptTemplate("Q: {prompt}\nA:"), step_rule=rule, end_ids=None)
    decode, read = plain_tokenizer.decode, 0

    def counted(ids):
        nonlocal read
        read += len(ids)
        return decode(ids)

    monkeypatch.setattr(plain_tokenizer, "decode", counted)
    for opening in ("", "\\[\n"):
        ids = plain_tokenizer(opening + "So: 4 + 4 is 8.\n\n" * 300, add_special_tokens=False)["input_ids"]
        step, read = OpenStep(), 0
        assert {engine.stop(token, "end", step) for token in ids} == {None}
        assert read < 2 * len(ids)
