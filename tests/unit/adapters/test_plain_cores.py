"""What each adapter computes, without its tool: the values by hand, the errors by name. Its hooks are in test_hooks.py."""

import json
import threading
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest

from prm.adapters import inspect_ai, its_hub, lm_eval, nemo_rl, openrlhf, verl
from prm.adapters.search_and_learn import VerifierPRM

RIGHT, WRONG = "1 [0.9]\n1 + 1 = 2 [0.8]\n#### 2", "1 + 1 = 3 [0.1]\n#### 3"


def test_inspect_ai_scores_answer_and_steps(judge):
    assert inspect_ai.opinion(judge, "Add 1 to 1.", RIGHT, True, gold="2.0") == {
        "value": "C",
        "answer": "2",
        "explanation": "correct",
        "metadata": {"verifier": 0.8, "steps": [0.9, 0.8, 0.8], "usable": True},
    }
    cut = inspect_ai.opinion(judge, "Add 1 to 1.", "1 + 1 = [0.7]", False, gold="2")
    assert (cut["value"], cut["explanation"], cut["metadata"]["usable"]) == ("I", "no_answer", False)
    assert inspect_ai.opinion(judge, "Add 1 to 1.", "", True, gold="2")["metadata"]["verifier"] is None


def test_inspect_ai_chooses_among_epochs():
    def epoch(answer, score, usable=True):
        return answer, {"verifier": score, "steps": [score], "usable": usable}

    epochs = [epoch("3", 0.7), epoch("2", 0.5), epoch("2.0", 0.4), epoch("9", 0.99, usable=False), epoch("3", None)]
    assert inspect_ai.chosen("best_of_n", epochs) == 0
    assert inspect_ai.chosen("weighted_vote", epochs) == 1
    assert inspect_ai.chosen("best_of_n", epochs[3:]) == 0, "none can be chosen"
    with pytest.raises(
        ValueError, match=r"reduces the scores of step_scores; this score has the metadata {'grade': 1}"
    ):
        inspect_ai.chosen("best_of_n", [("3", {"grade": 1})])


def test_lm_eval_keeps_the_chosen_text(judge):
    doc = {"question": "Add 1 to 1."}
    assert lm_eval.choose(judge, "best_of_n", doc, "question", [WRONG, RIGHT]) == [RIGHT]
    assert lm_eval.choose(judge, "weighted_vote", doc, "question", [RIGHT, *[WRONG] * 9]) == [WRONG]
    assert lm_eval.choose(judge, "best_of_n", doc, "question", ["", "?"]) == [""]
    with pytest.raises(ValueError, match="no column 'problem' in a row with question"):
        lm_eval.choose(judge, "best_of_n", doc, "problem", [RIGHT])


def test_its_hub_reads_the_last_message_of_the_user():
    def message(role, text):
        return SimpleNamespace(role=role, extract_text_content=lambda: text)

    assert its_hub.last_user([message("system", "s"), message("user", "Add 1."), message("assistant", "1")]) == "Add 1."
    with pytest.raises(ValueError, match="no message of a user among 1"):
        its_hub.last_user([message("system", "s")])


def test_search_and_learn_gets_step_scores(reader):
    prm = VerifierPRM(reader, "line")
    assert prm.score(["Add 1 to 1.", "Add 2."], [[RIGHT, WRONG, ""], ["2 [0.3]"]]) == [
        [[0.9, 0.8, 0.8], [0.1, 0.1], [0.0]],
        [[0.3]],
    ]


def test_verl_rewards_a_solution(reader):
    def score(text, **kwargs):
        its = {"verifier": reader, "step_rule": "line", **kwargs}
        return verl.compute_score("set", text, "3", {"question": "Add 1 to 2."}, **its)

    assert score("1 + 2 = 3 [0.75]\nso [0.5]\nThe answer is 3.", credit="progress") == {
        "score": 0.5,
        "acc": 1.0,
        "faulty": 0.0,
        "fault": "",
        "step_scores": "0.75 0.5 0.5",
        "step_rewards": "0.75 -0.25 0.0",
    }
    assert score(WRONG, aggregation="min")["score"] == 0.1
    assert score("") == {
        "score": 0.0,
        "acc": 0.0,
        "faulty": 1.0,
        "fault": "empty",
        "step_scores": "",
        "step_rewards": "",
    }
    with pytest.raises(ValueError, match="extra_info has question and no 'problem'"):
        score(RIGHT, problem="problem")
    with pytest.raises(TypeError, match="agregation"):
        score(RIGHT, agregation="min")


@pytest.mark.parametrize("tokenizer", ["plain_tokenizer", "merging_tokenizer", "trimming_tokenizer"])
def test_verl_finds_the_last_token_of_every_step(tokenizer, request):
    """Against the text up to each token: with it a step is whole, without it not."""
    tokenizer = request.getfixturevalue(tokenizer)
    steps = ["She sold 48 / 2 = 24.", "So she sold\n72.", "#### 72"]
    ids = tokenizer.encode("\n\n".join(steps) + "\n\n", add_special_tokens=False)
    ends = verl.places_of_ends(steps, lambda n: tokenizer.decode(ids[:n]), len(ids))
    for number, end in enumerate(ends, 1):
        whole = "\n\n".join(steps[:number])
        assert tokenizer.decode(ids[: end + 1]).rstrip() == whole
        assert tokenizer.decode(ids[:end]).rstrip() != whole


def test_openrlhf_cuts_the_response_out_of_the_query():
    assert openrlhf.response("<u>Add 1.<a>2<end><pad>", "<u>Add 1.<a>", "<end>") == ("2", True)
    assert openrlhf.response("Add 1. 2", "Add 1.", "<end>") == (" 2", False), "cut"
    with pytest.raises(ValueError, match=r"does not begin with its prompt 'Add 1\.'"):
        openrlhf.response("dd 1. 2", "Add 1.", "<end>")


def test_openrlhf_reward_server(judge, capsys):
    server = openrlhf.reward_server(judge, "<end>", "labels", {"credit": "min_form", "temperature": 1e-6}, port=0)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/get_reward"

    def post(sent):
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(sent).encode())) as reply:
            assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
            body = reply.read()
            assert int(reply.headers["Content-Length"]) == len(body)
            return json.loads(body)

    sent = {"query": [f"<u>{RIGHT}<end>", f"<u>{RIGHT}"], "prompts": ["<u>"] * 2, "labels": ["Add 1 to 1."] * 2}
    found = post(sent)
    assert found["rewards"] == found["scores"] == pytest.approx([0.8, 0.0])
    assert {fault: values for fault, values in found["extra_logs"].items() if any(values)} == {"unfinished": [0.0, 1.0]}
    with pytest.raises(urllib.error.HTTPError, match="400") as error:
        post({"query": ["x"], "prompts": ["<u>"], "labels": [""]})
    assert "does not begin with its prompt" in json.load(error.value)["error"]
    with pytest.raises(urllib.error.HTTPError, match="400"):
        post({"query": ["x"]})
    server.shutdown()
    server.server_close()
    cut, missing = (line.split("] ")[1] for line in capsys.readouterr().err.splitlines())
    assert cut.startswith("ValueError: the query 'x' does not begin with its prompt '<u>'")
    assert missing == "KeyError: 'prompts'"


def test_nemo_rl_reads_the_problem_from_the_metadata(judge):
    logs = [
        [{"role": "user", "content": "<template>"}, {"role": "assistant", "content": RIGHT}],
        [{"role": "user", "content": "<template>"}, {"role": "assistant", "content": ""}],
    ]
    metadata = [{"problem": "Add 1 to 1."}, {"problem": "Add 2."}]
    found = nemo_rl.rewarded(judge, logs, metadata, {"aggregation": "product"})
    assert found == ([pytest.approx(0.9 * 0.8 * 0.8), 0.0], ["reward 0.576", "no reward: empty"], ["2", None])
    with pytest.raises(ValueError, match="metadata has ground_truth and no 'problem'"):
        nemo_rl.rewarded(judge, logs[:1], [{"ground_truth": "2"}], {})
