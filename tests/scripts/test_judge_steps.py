"""data/judge_steps.py against a judge that knows arithmetic: labels, costs, the filter, kills, and servers that are gone."""

import json
import os
import re
import signal
import threading
import time

import pytest

from prm.storage.rows import read_labeled

STEPS = {
    "right": ["47 + 38 = 85", "85 - 12 = 73", "#### 73"],
    "wrong at 0": ["47 + 38 = 75", "75 - 12 = 63", "#### 63"],
    "wrong at 1": ["47 + 38 = 85", "85 - 12 = 63", "#### 63"],
    "wrong, right in the end": ["47 + 38 = 75", "75 - 2 = 73", "#### 73"],
}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def row(number, steps, labels=None, **columns):
    """A trace of problem `number`; with labels ("gb-") a row of Monte Carlo labels."""
    made = {
        "prompt": f"Problem {number}: start with 47, add 38, subtract 12.",
        "completions": steps,
        "problem_id": f"p/{number}",
        "gold": "73",
        "answer": steps[-1].split()[-1],
        "correct": steps[-1] == "#### 73",
    }
    if labels is not None:
        names = {"g": True, "b": False, "-": None}
        made |= {"labels": [names[c] for c in labels], "semantics": "value", "method": "monte_carlo@8"}
    return made | columns


def first_wrong(prompt):
    """Number of the first paragraph whose equation does not hold, or none."""
    for number, left, right in re.findall(r"<paragraph_(\d+)>\n(\d+ [+-] \d+) = (\d+)\n", prompt):
        if eval(left) != int(right):
            return number
    return "none"


def judge(prompt, seed):
    """Right, but one time in three without a verdict."""
    return "Hard to say." if seed % 3 == 0 else f"I checked.\nFirst wrong paragraph: {first_wrong(prompt)}"


FLAGS = {"judge": "critic", "batch_size": 4, "retries": 20, "patience": 20}


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """24 traces, and one that was cut."""
    kinds = list(STEPS.values())
    rows = [row(i, kinds[i % 4], kept={"topic": str(i)}) for i in range(24)] + [
        row(24, STEPS["right"], status="truncated", finished=False)
    ]
    return write(tmp_path_factory.mktemp("judge") / "traces.jsonl", rows)


@pytest.fixture(scope="module")
def whole(scripts, chat_server, traces):
    """(the run, its output, what the server was asked) of a run that nobody disturbed."""
    with chat_server(judge) as server:
        output = traces.with_name("judged.jsonl")
        done = scripts.run("data/judge_steps.py", traces=traces, output=output, url=server.url, **FLAGS)
    assert done.code == 0, done.stderr
    return done, output, server.answered


def test_labels_and_costs(scripts, whole, traces):
    done, output, answered = whole
    rows = rows_of(output)
    assert [row["labels"] for row in rows[:4]] == [
        [True, True, True],
        [False, None, None],
        [True, False, None],
        [False, None, None],
    ]
    assert (rows[0]["semantics"], rows[0]["method"], rows[0]["values"]) == ("correctness", "judge@1", None)
    assert rows[24] == rows_of(traces)[24] | {
        key: rows[24][key] for key in ("id", "level", "num_tokens", "seed", "index", "generator", "step_rule")
    }
    assert [row.labeled.trace.kept for row in read_labeled(output, "correctness")] == [
        {"topic": str(i)} for i in range(24)
    ]
    unreadable = sum(seed % 3 == 0 for _, seed in answered)
    assert len(answered) == 24 + unreadable > 24
    meta = json.loads(output.with_suffix(".meta.json").read_text())
    assert meta["statuses"] == {"ok": 24, "truncated": 1}
    assert (meta["answers"], meta["retries"]) == (len(answered), unreadable)
    assert meta["unparsable"] == {"cut": 0, "no_verdict": unreadable}
    assert meta["generated_tokens"] == 2 * 24 + unreadable
    assert meta["server"] == {"requests": len(answered)}
    assert f"{len(answered)} answers about 24 traces, {unreadable} of them retries" in done.stdout
    again = scripts.run("data/judge_steps.py", traces=traces, output=output, url="http://127.0.0.1:9/v1", **FLAGS)
    assert again.code == 1  # another URL is another setting
    assert "url: was" in again.last_line


def test_killed_again_and_again_and_nothing_is_asked_twice(scripts, chat_server, whole, traces, tmp_path):
    """The server holds an answer back, so that every kill hits a request that is under way."""
    _, expected, answered = whole
    output, journal = tmp_path / "judged.jsonl", tmp_path / "judged.jsonl.answers"
    asked, go_on, limit = [], threading.Event(), 0

    def slow(prompt, seed):
        asked.append(seed)
        if len(asked) > limit:
            go_on.wait(60)
        return judge(prompt, seed)

    flags = FLAGS | {"traces": traces, "output": output, "batch_size": 1}
    with chat_server(slow) as server:
        for limit in (7, 20):
            pid = scripts.start("data/judge_steps.py", url=server.url, **flags)
            deadline = time.monotonic() + 60
            while len(asked) <= limit:
                assert time.monotonic() < deadline, "the judge is not asked"
                time.sleep(0.005)
            if limit == 7:
                other = scripts.run("data/judge_steps.py", url=server.url, **flags)
                assert (other.code, f".answers is written by process {pid}" in other.last_line) == (1, True)
            os.kill(pid, signal.SIGKILL)
            assert scripts.wait(pid).code == -signal.SIGKILL
            assert not output.exists()
            go_on.set()
            go_on.clear()
        limit = 10**6
        done = scripts.run("data/judge_steps.py", url=server.url, **flags)
    assert done.code == 0, done.stderr
    assert output.read_bytes() == expected.read_bytes()
    kept = [line["seed"] for line in rows_of(journal) if "seed" in line]
    assert sorted(kept) == sorted(seed for _, seed in answered)
    assert len(asked) == len(answered) + 2  # those that were under way when it was killed
    assert len(set(asked)) == len(answered)


def test_a_server_that_is_gone_and_comes_back_elsewhere(scripts, chat_server, whole, traces, tmp_path):
    _, expected, answered = whole
    flags = FLAGS | {"traces": traces, "output": tmp_path / "judged.jsonl", "patience": 0.2}
    started = time.monotonic()
    with chat_server(judge, [None] * 9 + ["500"]) as server:
        failed = scripts.run("data/judge_steps.py", url=server.url, **(flags | {"batch_size": 1}))
    assert failed.code == 1
    assert time.monotonic() - started < 30
    assert re.search(r"judging p/9#0: http.*failed .* status 500 .*start this command again", failed.last_line)
    with chat_server(judge) as server:
        done = scripts.run("data/judge_steps.py", url=server.url, **(flags | {"batch_size": 1}))
    assert done.code == 0, done.stderr
    assert len(server.answered) == len(answered) - 9
    assert (tmp_path / "judged.jsonl").read_bytes() == expected.read_bytes()


def test_a_server_that_fails_at_times(scripts, chat_server, whole, traces, tmp_path):
    _, expected, _ = whole
    output = tmp_path / "judged.jsonl"
    with chat_server(judge, ["429", *[None] * 7, "half", *[None] * 7, "garbage", *[None] * 7]) as server:
        done = scripts.run(
            "data/judge_steps.py", traces=traces, output=output, url=server.url, **(FLAGS | {"batch_size": 8})
        )
    assert done.code == 0, done.stderr
    assert output.read_bytes() == expected.read_bytes()
    assert re.search(r"server, in this run: .*'retry: status 429': \d+", done.stdout)


def test_consensus(scripts, chat_server, tmp_path):
    rows = [
        row(0, STEPS["right"], "ggg"),
        row(1, STEPS["right"], "gbg"),  # Monte Carlo had no luck
        row(2, STEPS["wrong at 1"], "gbb"),
        row(3, STEPS["wrong at 1"], "ggb"),
        row(4, STEPS["wrong at 0"], "gbb"),
        row(5, STEPS["wrong, right in the end"], "ggg"),
        row(6, STEPS["wrong at 1"], "g-b"),
        row(7, STEPS["right"], status="timeout", correct=None),
    ]
    labeled = write(tmp_path / "labeled.jsonl", rows)
    flags = FLAGS | {"traces": labeled, "consensus": True, "output": tmp_path / "consensus.jsonl"}
    with chat_server(judge) as server:
        done = scripts.run("data/judge_steps.py", url=server.url, **flags)
        assert done.code == 0, done.stderr
        asked = {int(re.search(r"Problem (\d+)", prompt)[1]) for prompt, _ in server.answered}
        assert asked == {0, 1, 2, 3, 4, 5}
        made = rows_of(tmp_path / "consensus.jsonl")
        assert [row["status"] for row in made] == [
            "ok", "disagreement", "ok", "disagreement", "disagreement", "disagreement", "undecided", "timeout",
        ]  # fmt: skip
        assert [row.get("labels") for row in made][:3] == [[True] * 3, None, [True, False, None]]
        assert (made[2]["method"], made[2]["semantics"]) == ("consensus(monte_carlo@8, judge@1)", "correctness")
        assert json.loads((tmp_path / "consensus.meta.json").read_text())["first_errors"] == {
            "no error": 1,
            "error only for Monte Carlo": 1,
            "same place": 1,
            "judge earlier": 2,
            "error only for the judge": 1,
        }

        before = len(server.answered)
        shared = FLAGS | {
            "traces": labeled,
            "output": tmp_path / "j.jsonl",
            "answers": tmp_path / "consensus.jsonl.answers",
        }
        done = scripts.run("data/judge_steps.py", url=server.url, **shared)
        assert done.code == 0, done.stderr
        new = {int(re.search(r"Problem (\d+)", prompt)[1]) for prompt, _ in server.answered[before:]}
    assert new == {6}  # the judge alone labels this one, too; the others are in the journal


def test_a_judge_in_this_process(scripts, tiny_llama, plain_tokenizer, traces, tmp_path):
    """A random model says nothing readable: every row is there, counted."""
    from transformers import LlamaConfig, LlamaForCausalLM

    model = tiny_llama(len(plain_tokenizer))
    wide = LlamaForCausalLM(LlamaConfig(**(model.config.to_dict() | {"max_position_embeddings": 4096})))
    wide.save_pretrained(tmp_path / "model")
    plain_tokenizer.save_pretrained(tmp_path / "model")
    few = write(tmp_path / "few.jsonl", rows_of(traces)[:3])
    flags = {"traces": few, "output": tmp_path / "judged.jsonl", "judge": tmp_path / "model", "retries": 1}
    done = scripts.run("data/judge_steps.py", max_new_tokens=4, **flags)
    assert done.code == 0, done.stderr
    assert [row["status"] for row in rows_of(tmp_path / "judged.jsonl")] == ["unparsed"] * 3
    assert "6 answers about 3 traces, 3 of them retries; unparsable 100.0%" in done.stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"temperature": 0}, "at --temperature 0 every answer is the same"),
        ({"consensus": True}, r"traces.jsonl:1: no column 'labels'"),
    ],
)
def test_refused(scripts, traces, tmp_path, flags, message):
    done = scripts.run(
        "data/judge_steps.py", traces=traces, output=tmp_path / "x.jsonl", url="http://x", **(FLAGS | flags)
    )
    assert done.code == 1
    assert re.search(message, done.last_line)
