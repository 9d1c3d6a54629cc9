"""Rollouts on demand: addresses, seeds, what is sampled and what is read, outcomes."""

import copy
from dataclasses import replace
from types import SimpleNamespace

from prm.encoding.prompts import PROMPTS
from prm.generators import derive_seed
from prm.generators.hf import HfGenerator
from prm.generators.scripted import ScriptedGenerator
from prm.sampling.rollouts import Request, RolloutSource, commit_to, watch
from prm.sampling.traces import trace_from_rollout
from prm.search.driver import search
from prm.search.methods import parse_method
from prm.storage.rollout_store import RolloutStore, prefix_hash
from prm.types import Budget, Problem

PROBLEM = Problem("arithmetic/train/7", "Start with 47, add 38, subtract 12.", "73", "arithmetic", 2)
STEP = ("47 + 38 = 75",)


def numbered():
    """Rollouts that tell their seed."""
    return ScriptedGenerator(lambda prefix, seed: f"{seed} + 1 = 2\n#### {seed % 100}")


def test_an_address_says_how_to_sample_a_rollout_again():
    source = RolloutSource(numbered(), seed=3)
    (rollouts,) = source.take([Request(PROBLEM, STEP, 6)])
    place, ids = source.locate(PROBLEM, STEP)
    assert ids == [ord(c) for c in PROBLEM.prompt + "\n47 + 38 = 75\n"]
    assert place == (PROBLEM.id, prefix_hash(ids))
    assert [r.index for r in rollouts] == [0, 1, 2, 3, 4, 5]
    assert [r.seed for r in rollouts] == [derive_seed(3, *place, i) for i in range(6)]
    assert rollouts[5].text == f"{rollouts[5].seed} + 1 = 2\n#### {rollouts[5].seed % 100}"
    assert RolloutSource(numbered(), seed=3).take([Request(PROBLEM, STEP, 2)]) == [rollouts[:2]]
    (other,) = RolloutSource(numbered(), seed=4).take([Request(PROBLEM, STEP, 6)])
    assert not {r.seed for r in other} & {r.seed for r in rollouts}


def test_only_what_is_not_known_is_sampled():
    generator, committed = numbered(), []
    source = RolloutSource(generator, 0, commit=committed.append)
    first, second = source.take([Request(PROBLEM, STEP, 2), Request(PROBLEM, STEP, 3)])
    assert second[:2] == first
    assert len(generator.calls) == 3
    assert [len(batch) for batch in committed] == [3]
    source.take([Request(PROBLEM, STEP, 1)])
    assert len(generator.calls) == 3
    assert len(committed) == 1  # nothing new, nothing to commit

    again = RolloutSource(generator, 0, known=committed[0])
    (five,) = again.take([Request(PROBLEM, STEP, 5)])
    assert five[:3] == second
    assert len(generator.calls) == 5
    assert again.sampled_tokens == sum(r.num_tokens for r in five[3:])
    assert again.all_taken() == five


def test_nothing_is_sampled_twice_because_a_day_has_passed(tiny_qwen2, plain_tokenizer, tmp_path, clock):
    """Although the chat template of the generator asks for the date."""
    tokenizer, sampled = copy.deepcopy(plain_tokenizer), []
    tokenizer.chat_template = "Today: {{ strftime_now('%d %b %Y') }}\n" + tokenizer.chat_template
    model = tiny_qwen2(len(tokenizer))
    for day in ("2031-03-01", "2031-11-09"):
        clock(day)
        generator = HfGenerator(model, tokenizer, name="tiny", template=PROMPTS["chat"], max_new_tokens=8)
        store = RolloutStore(tmp_path / "store", {"generator": generator.name, "seed": 0})  # the same, or it is refused
        with store.claim([PROBLEM.id]):
            source = RolloutSource(generator, 0, store.read([PROBLEM.id]), store.append)
            rollouts = source.take([Request(PROBLEM, (), 2), Request(PROBLEM, STEP, 2)])
        store.close()
        sampled.append((rollouts, source.sampled_tokens))
    (first, tokens), (second, more) = sampled
    assert first == second
    assert (tokens > 0, more) == (True, 0)


def test_whole_traces_are_rollouts_from_the_prompt():
    """And those of the pool of a search, so that either way of asking gives the same traces."""
    (rollouts,) = RolloutSource(numbered(), seed=9).take([Request(PROBLEM, (), 4)])
    generator = numbered()
    traces = [trace_from_rollout(rollout, (), generator) for rollout in rollouts]
    (result,) = search(parse_method("majority", []), [PROBLEM], generator, None, Budget(4), seed=9)
    assert tuple(traces) == result.candidates
    assert traces[0].steps == (f"{traces[0].seed} + 1 = 2", f"#### {traces[0].seed % 100}")


def test_a_trace_from_a_rollout_holds_the_prefix_too():
    generator = ScriptedGenerator(lambda prefix, seed: "75 - 2 = 73\n#### 73")
    (rollouts,) = RolloutSource(generator, 0).take([Request(PROBLEM, STEP, 1)])
    trace = trace_from_rollout(rollouts[0], STEP, generator, index=12)
    assert trace.steps == ("47 + 38 = 75", "75 - 2 = 73", "#### 73")
    assert (trace.id, trace.answer, trace.correct, trace.status) == ("arithmetic/train/7#12", "73", True, "ok")


def test_a_rollout_may_hold_only_the_end_of_its_last_line():
    """The model ends at once behind a step that states the answer in words: the answer is in the prefix."""
    source = RolloutSource(ScriptedGenerator(lambda prefix, seed: ""), 0)
    (rollouts,) = source.take([Request(PROBLEM, ("so 73 eggs",), 3)])
    assert [r.outcome for r in rollouts] == ["correct"] * 3


def test_a_rollout_cut_at_the_limit_has_no_answer():
    """It holds the right number, but it was not at its end."""

    class Cut(ScriptedGenerator):
        def generate(self, prefixes, seeds, until="end", limits=None, ended=None):
            return [replace(c, stop="length") for c in super().generate(prefixes, seeds, until)]

    (rollouts,) = RolloutSource(Cut(lambda prefix, seed: "73"), 0).take([Request(PROBLEM, STEP, 2)])
    assert {r.outcome for r in rollouts} == {"no_answer"}


def test_the_bar_shows_once_a_second_how_many_samples_have_ended(monkeypatch):
    shown, now = [], [0.0]
    monkeypatch.setattr("prm.sampling.rollouts.time.monotonic", lambda: now[0])
    ended = watch(SimpleNamespace(set_postfix_str=shown.append))
    for now[0] in (0.5, 1.5, 1.6, 2.4, 2.6):
        ended(500)
    assert shown == ["1,000 samples", "2,500 samples"]

    told = []
    RolloutSource(ScriptedGenerator(lambda prefix, seed: "73"), 0, ended=told.append).take([Request(PROBLEM, STEP, 3)])
    assert sum(told) == 3


def test_what_is_committed_is_in_the_store_and_its_rate_on_the_bar(monkeypatch):
    (rollouts,) = RolloutSource(numbered(), 0).take([Request(PROBLEM, STEP, 3)])
    stored, shown = [], []
    progress = SimpleNamespace(set_postfix_str=shown.append)
    clock = iter([5.0, 7.0, 9.0])
    monkeypatch.setattr("prm.sampling.rollouts.time.monotonic", lambda: next(clock))
    commit = commit_to(SimpleNamespace(append=stored.append), progress)
    commit(rollouts[:2])
    commit(rollouts[2:])
    assert stored == [rollouts[:2], rollouts[2:]]
    first, all_of_them = (sum(r.num_tokens for r in rollouts[:n]) for n in (2, 3))
    assert shown == [f"{first / 2:,.0f} tokens/s", f"{all_of_them / 4:,.0f} tokens/s"]


def test_a_gold_answer_that_was_corrected_counts_for_old_rollouts_too():
    generator = ScriptedGenerator(lambda prefix, seed: "#### 73")
    wrong_gold = replace(PROBLEM, answer="72")
    (old,) = RolloutSource(generator, 0).take([Request(wrong_gold, STEP, 2)])
    assert [(r.gold, r.outcome) for r in old] == [("72", "wrong")] * 2
    (new,) = RolloutSource(generator, 0, known=old).take([Request(PROBLEM, STEP, 2)])
    assert [(r.gold, r.outcome) for r in new] == [("73", "correct")] * 2
    assert len(generator.calls) == 2


def test_many_rollouts_are_committed_in_slices(monkeypatch):
    """A kill loses at most one slice; what is asked for again is cut at the same places."""
    monkeypatch.setattr("prm.sampling.rollouts.COMMIT", 4)
    committed = []
    requests = [Request(PROBLEM, STEP, 6), Request(PROBLEM, (), 5)]
    whole = RolloutSource(numbered(), 0, commit=committed.append).take(requests)
    assert [len(batch) for batch in committed] == [4, 4, 3]
    rest = []
    assert RolloutSource(numbered(), 0, committed[0], rest.append).take(requests) == whole
    assert rest == committed[1:]
