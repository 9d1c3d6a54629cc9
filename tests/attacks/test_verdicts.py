"""The answer check under pressure: pauses, stopped workers, answers made to hang, numbers without end."""

import threading
import time
from dataclasses import replace

import psutil
import pytest

from prm import answers
from prm.answers import check, group, workers
from prm.generators.scripted import ScriptedGenerator
from prm.labelers.judge_prompt import read_verdict
from prm.sampling.rollouts import Request, RolloutSource
from prm.sampling.traces import grow, open_trace
from prm.search.driver import search
from prm.search.methods import parse_method
from prm.storage.answered_requests import AnsweredRequests, Drawn
from prm.types import Budget, Continuation, Problem

ROOTS = (r"\sqrt{8}", r"2\sqrt{2}")
HANGS = (r"9^{9^{9^9}}+\sqrt{2}", r"9^{9^{9^9}}+\sqrt{3}")
PROBLEM = Problem("p/0", "What is 1 + 1?", "2", "p")


@pytest.fixture
def pool(monkeypatch):
    """A pool of one worker that has answered once."""
    monkeypatch.setattr(workers, "WORKERS", 1)
    its = workers.Pool()
    monkeypatch.setattr(workers, "POOL", its)
    monkeypatch.setattr(answers, "_decided", {})
    monkeypatch.setattr(answers, "_timeouts", {})
    assert its.ask(*ROOTS, 60) == "correct"
    yield its
    its.close()


def processes(pool: workers.Pool) -> tuple[psutil.Process, psutil.Process]:
    """The worker of the pool, and its child that computes. Workers of other pools may run beside it."""
    (worker,) = [psutil.Process(its._process.pid) for its in pool._slots.queue]
    (child,) = worker.children()
    return worker, child


def test_a_pause_longer_than_the_deadline_changes_no_verdict(pool, monkeypatch):
    _, child = processes(pool)
    monkeypatch.setattr(workers, "LOOK_SECONDS", 0.7)
    child.suspend()
    threading.Timer(1.0, child.resume).start()
    started = time.monotonic()
    assert pool.ask(*ROOTS, 0.5) == "correct"
    assert time.monotonic() - started >= 0.9
    assert processes(pool)[1].pid == child.pid


def test_what_takes_too_much_processor_time_is_a_timeout_and_the_worker_lives_on(pool):
    worker, child = processes(pool)
    assert pool.timed(*HANGS, 0.3) == ("timeout", 0.3)
    assert pool.ask(*ROOTS, 60) == "correct"
    assert processes(pool)[0].pid == worker.pid
    assert processes(pool)[1].pid != child.pid


@pytest.mark.slow
@pytest.mark.parametrize("who", ["child", "worker", "both"])
def test_a_stopped_worker_is_replaced_and_not_waited_for(pool, monkeypatch, who):
    monkeypatch.setattr(workers, "NEXT_SECONDS", 0.5)
    monkeypatch.setattr(workers, "LOOK_SECONDS", 0.2)
    worker, child = processes(pool)
    for name, process in (("worker", worker), ("child", child)):
        if who in (name, "both"):
            process.suspend()
    started = time.monotonic()
    # A stopped worker does no harm until its child ends, and cannot say then why.
    assert pool.ask(*HANGS, 0.1) == "error"
    assert time.monotonic() - started < 20
    assert pool.ask(*ROOTS, 60) == "correct"
    assert not worker.is_running()


def test_hostile_answers_of_one_problem_share_one_budget(pool, monkeypatch):
    monkeypatch.setattr(answers, "GROUP_SECONDS", 0.6)
    monkeypatch.setattr(answers, "DEADLINE", 0.25)
    asked, timed = [], pool.timed
    monkeypatch.setattr(pool, "timed", lambda *pair: (asked.append(pair), timed(*pair))[1])
    hostile = [rf"9^{{9^{{9^9}}}}+\sqrt{{{i}}}" for i in range(2, 18)]
    assert group([*hostile, "7", "7.0", hostile[3]]) == [*range(16), 16, 16, 3]
    assert len(asked) == 3, "a quarter of a second each, and what is left"
    assert [deadline for _, _, deadline, *_ in asked] == pytest.approx([0.25, 0.25, 0.1])
    # Pairs that hang once are known, and cost nothing the next time.
    monkeypatch.setattr(answers, "GROUP_SECONDS", 0.05)
    assert group(hostile[:3]) == [0, 1, 2]
    assert len(asked) == 3


def test_equal_answers_are_found_equal_after_the_budget_where_no_worker_is_needed(pool, monkeypatch):
    monkeypatch.setattr(answers, "GROUP_SECONDS", 0.0)
    assert group([*HANGS, "1/2", "0.5", "x=3", "3"]) == [0, 1, 2, 2, 3, 3]


class Undecided:
    """An answer check that cannot decide at first."""

    def __init__(self, monkeypatch, outcome):
        self.outcome, self.asked = outcome, 0
        check_many = answers.check_many

        def checked(*, golds, preds):
            self.asked += sum(pred is not None for pred in preds)
            return check_many(golds=golds, preds=preds) if self.outcome is None else [self.outcome] * len(golds)

        monkeypatch.setattr(answers, "check_many", checked)


@pytest.mark.parametrize("outcome", ["timeout", "error"])
def test_what_could_not_be_decided_is_checked_again_when_it_is_read(monkeypatch, outcome):
    answer_check = Undecided(monkeypatch, outcome)
    generator, stored = ScriptedGenerator(lambda prefix, seed: f"1 + 1 = 2\n#### {2 + seed % 2}"), []
    (first,) = RolloutSource(generator, 0, commit=stored.extend).take([Request(PROBLEM, (), 6)])
    assert {rollout.outcome for rollout in first} == {outcome}
    answer_check.outcome = None
    (again,) = RolloutSource(generator, 0, known=stored).take([Request(PROBLEM, (), 6)])
    assert len(generator.calls) == 6
    assert [its.outcome for its in again] == ["correct" if "#### 2" in its.text else "wrong" for its in first]


@pytest.mark.parametrize("outcome", ["timeout", "error"])
def test_what_a_search_remembers_undecided_is_checked_again(monkeypatch, outcome):
    answer_check = Undecided(monkeypatch, outcome)
    generator, answered = ScriptedGenerator(lambda prefix, seed: "1 + 1 = 2\n#### 2"), AnsweredRequests()
    method = parse_method("majority", [])
    (found,) = search(method, [PROBLEM], generator, None, Budget(3), 0, answered)
    assert {trace.status for trace in found.candidates} == {outcome}
    answer_check.outcome = None
    (again,) = search(method, [PROBLEM], generator, None, Budget(3), 0, answered)
    assert len(generator.calls) == 3
    assert [(trace.status, trace.correct) for trace in again.candidates] == [("ok", True)] * 3
    (other,) = search(method, [replace(PROBLEM, id="p/1")], generator, None, Budget(1), 0, answered)
    assert other.candidates[0].status == "ok"


NINES = "9" * 5000


FORMS = ("{}", "-{}", "0.{}", "{}%", "1/{}", "10^{{{}}}", "({}, 1)")


@pytest.mark.parametrize("form", FORMS)
def test_numbers_of_5000_digits_are_compared(monkeypatch, form):
    monkeypatch.setattr(answers, "GROUP_SECONDS", 0.2)
    pred = form.format(NINES)
    for gold in ("12", NINES):
        assert check(gold=gold, pred=pred, deadline=0.2) in ("correct", "wrong", "timeout", "error")
    assert check(gold=pred, pred=pred, deadline=0.2) in ("correct", "timeout")
    assert group(["12", pred, pred]) == [0, 1, 1]
    text = f"1 + 1 = 2\n#### {pred}"
    monkeypatch.setattr(answers.check_many, "__kwdefaults__", {"deadline": 0.2})
    (trace,) = grow([open_trace(PROBLEM)], [Continuation((1,), text, "answer")], [PROBLEM], ScriptedGenerator(str))
    assert trace.correct is not True


@pytest.mark.parametrize("number", ["1" + "0" * 5000, NINES, "0" * 5000 + "2", "²", "-1", "1e3", "\u0663" * 5000])
def test_a_verdict_with_any_number_can_be_read(number):
    assert read_verdict(f"No.\nFirst wrong paragraph: {number}", 3) is None


@pytest.mark.parametrize("text", ["half \ud83d of it", "nul \x00", "\x1b[2J", "\u2028 \x85 line ends"])
def test_what_is_remembered_of_a_search_can_be_read(tmp_path, text):
    path, header = tmp_path / "requests", {"seed": 0}
    trace = replace(open_trace(PROBLEM), steps=(text,), status="ok")
    drawn = Drawn(trace, Continuation((1, 2), "", "eos"), 0.5)
    AnsweredRequests(path, header).add({"key": drawn}, {})
    assert AnsweredRequests(path, header).drawn == {"key": drawn}
