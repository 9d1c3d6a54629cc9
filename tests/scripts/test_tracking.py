"""What `--report_to` leaves behind: an offline W&B run read back from its file, and TensorBoard's event file.

No network: connections from Python to anywhere but this machine raise, and W&B's own process, which is no Python, is told
that its server and every proxy are a listener that nobody may call.
"""

import base64
import hashlib
import json
import random
import runpy
import socket
import struct
import sys
from pathlib import Path

import pytest

from prm.datasets import arithmetic
from prm.evaluation.search_runs import FORMAT
from prm.storage.jsonl import file_hash, write_jsonl
from prm.storage.rows import labeled_to_row
from prm.storage.search_rows import results_to_row
from prm.types import Cost, LabeledTrace, Problem, Scores, SearchResult, Trace

ROOT = Path(__file__).resolve().parents[2]
THROUGHPUT = ("tokens_per_second", "useful_token_share", "tokens_saved_by_sharing", "flop_utilization")
WATCHED = """
import runpy, socket, sys

connect = socket.socket.connect

def guarded(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise SystemExit(f"a connection to {address}")
    return connect(self, address)

socket.socket.connect = socket.socket.connect_ex = guarded
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def labeled_rows(problems):
    """Per problem its solution and the solution with a wrong answer."""
    for problem in problems:
        gold = arithmetic.solution(problem.prompt)
        for index, steps in enumerate((gold, (*gold[:-1], "#### 0"))):
            labels = arithmetic.check_steps(problem.prompt, steps)
            trace = Trace(problem.id, steps, steps[-1].removeprefix("#### "), labels[-1], index=index)
            yield labeled_to_row(problem, LabeledTrace(trace, labels, None, None, "exact", "correctness"))


@pytest.fixture(scope="module")
def flags(tmp_path_factory, tiny_llama):
    """`flags(output, report_to)`: a command line. Training and validation data have 24 and 8 rows."""
    folder = tmp_path_factory.mktemp("files")
    tokenizer = arithmetic.build_tokenizer()
    tokenizer.save_pretrained(folder / "base")
    tiny_llama(len(tokenizer)).save_pretrained(folder / "base")
    problems = random.Random(0).sample(arithmetic.load("train", 40), 16)
    write_jsonl(folder / "labeled.jsonl", labeled_rows(problems[:12]))
    write_jsonl(folder / "held out.jsonl", labeled_rows(problems[12:]))

    def make(output, report_to):
        values = {
            "model": folder / "base",
            "data": folder / "labeled.jsonl",
            "eval_data": folder / "held out.jsonl",
            "output_dir": output,
            "max_length": 128,
            "max_steps": 2,
            "logging_steps": 1,
            "learning_rate": 1e-2,
            "save_strategy": "no",
            "report_to": report_to,
            "disable_tqdm": True,
        }
        return [word for name, value in values.items() for word in (f"--{name}", str(value))]

    return make


def read_wandb(path):
    """The records of a .wandb file: a header of 7 bytes, then LevelDB's log format, blocks of 32 KiB with pieces of records
    in them (checksum 4, length 2, type 1: whole, first, middle or last)."""
    from wandb.proto.wandb_internal_pb2 import Record

    data = path.read_bytes()
    assert data[:4] == b":W&B"
    records, whole, place = [], b"", 7
    while place + 7 <= len(data):
        if 2**15 - place % 2**15 < 7:  # no piece begins in the last bytes of a block
            place += 2**15 - place % 2**15
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            records.append(Record.FromString(whole))
            whole = b""
    return records


def items(messages):
    """Keys and values of a record; a key may be a path into nested dictionaries."""
    values = {}
    for message in messages:
        *outer, name = message.nested_key or [message.key]
        place = values
        for part in outer:
            place = place.setdefault(part, {})
        place[name] = json.loads(message.value_json)
    return values


def md5(path):
    return base64.b64encode(hashlib.md5(path.read_bytes()).digest()).decode()


@pytest.fixture(scope="module")
def offline(scripts, tmp_path_factory):
    """`offline(script, flags)`: folder and records of the W&B run that it leaves, after it has asked no one."""

    def run(script, flags):
        folder = tmp_path_factory.mktemp("wandb")
        (folder / "watched.py").write_text(WATCHED)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = f"http://127.0.0.1:{listener.getsockname()[1]}"
            proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), server)
            folders = {
                name: str(folder) for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR")
            }
            settings = proxies | folders | {"WANDB_MODE": "offline", "WANDB_BASE_URL": server}
            done = scripts.wait(scripts.start_words([str(folder / "watched.py"), script, *flags], settings))
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()
        assert done.code == 0, done.stderr[-3000:]
        (left,) = (folder / "wandb").glob("offline-run-*")
        (log,) = left.glob("run-*.wandb")
        records = read_wandb(log)
        assert [record.exit.exit_code for record in records if record.HasField("exit")] == [0]  # it came to its end
        return left, records

    return run


@pytest.fixture(scope="module")
def trained(flags, offline, tmp_path_factory):
    """Checkpoint, folder and records of a training run."""
    output = tmp_path_factory.mktemp("trained") / "prm"
    return output, *offline("recipes/train_prm.py", flags(output, "wandb"))


def artifacts_of(records):
    return {record.artifact.name: record.artifact for record in records if record.HasField("artifact")}


def test_offline_wandb_run_is_complete_and_asks_no_one(trained):
    output, run, records = trained
    run_id = json.loads((output / "wandb_run.json").read_text())["id"]
    assert [path.name for path in run.glob("*.wandb")] == [f"run-{run_id}.wandb"]
    config = {}
    for record in records:
        config |= items(record.config.update) | items(record.run.config.update)
    assert config["learning_rate"] == 0.01  # the Trainer's
    assert (config["lora_r"], config["semantics"], config["aggregation"]) == (0, "correctness", "product")
    assert (config["codec"]["separator"], config["codec"]["max_length"]) == ("\n", 128)
    assert config["train_rows"]["rows"] == 24
    assert config["data_hash"] == file_hash(config["data"])

    history = [items(record.history.item) for record in records if record.HasField("history")]
    curves = {
        name: [row[f"train/{name}"] for row in history if f"train/{name}" in row]
        for name in ("loss", "grad_norm", *THROUGHPUT)
    }
    state = json.loads((output / "trainer_state.json").read_text())["log_history"]
    for name, values in curves.items():
        assert len(values) == 2, name
        assert values == [entry[name] for entry in state if name in entry], name
    assert min(curves["tokens_per_second"]) > 0
    assert min(curves["useful_token_share"]) > 1.2  # a right and a wrong trace of a problem differ in their last step
    assert 0 < max(curves["flop_utilization"]) < 1
    metrics = json.loads((output / "eval_results.json").read_text())
    (measured,) = [row for row in history if "eval/auc" in row]
    for name in ("loss", "auc", "balanced_accuracy", "first_error_accuracy", "trace_auc_within_problem", "n_steps"):
        assert measured[f"eval/{name}"] == metrics[f"eval_{name}"], name

    (scores,) = [row for row in history if "scores/steps" in row]
    assert scores["train/global_step"] == 2
    tables = {}
    for name in ("reliability", "by_depth", "steps"):
        assert scores[f"scores/{name}"]["_type"] == "table-file"
        tables[name] = json.loads((run / "files" / scores[f"scores/{name}"]["path"]).read_text())
    rows = [json.loads(line) for line in Path(config["eval_data"]).read_text().splitlines()]
    truth = [[row["problem_id"], i, float(label)] for row in rows for i, label in enumerate(row["labels"])]
    assert tables["steps"]["columns"] == ["problem", "step", "score", "target"]
    assert [[problem, step, target] for problem, step, _, target in tables["steps"]["data"]] == truth
    assert tables["reliability"]["columns"] == ["low", "high", "count", "score", "target"]
    assert sum(row[2] for row in tables["reliability"]["data"]) == len(truth)
    assert tables["by_depth"]["columns"] == ["step", "low", "high", "count"]
    counted = {step: sum(row[3] for row in tables["by_depth"]["data"] if row[0] == step) for step in (0, 1)}
    assert counted == {0: 8, 1: 8}
    picture = run / "files" / scores["scores/reliability_diagram"]["path"]
    assert picture.read_bytes().startswith(b"\x89PNG")

    artifacts = artifacts_of(records)
    model, evaluation = artifacts[f"verifier-{run_id}"], artifacts[f"evaluation-{run_id}"]
    inputs = {name: artifact for name, artifact in artifacts.items() if artifact.use_after_commit}
    assert {name: artifact.type for name, artifact in inputs.items()} == {
        "data-labeled": "dataset",
        "data-held-out": "dataset",
    }
    assert all(artifact.user_created for artifact in inputs.values())  # as those of `run.use_artifact`
    (data,) = inputs["data-labeled"].manifest.contents
    assert (data.path, data.digest) == ("labeled.jsonl", md5(Path(config["data"])))
    assert (model.type, sorted(model.aliases)) == ("model", ["final", "latest", "step-2"])
    files = {entry.path: entry for entry in model.manifest.contents}
    assert {"model.safetensors", "config.json", "tokenizer.json", "prm_config.json", "README.md"} <= files.keys()
    for name in ("model.safetensors", "README.md"):
        assert files[name].digest == md5(output / name)
        assert Path(files[name].local_path).is_file()  # what `wandb sync` will send
    assert evaluation.type == "evaluation"
    assert json.loads(evaluation.metadata)["model"] == model.name
    assert json.loads(evaluation.metadata)["auc"] == metrics["eval_auc"]


def test_the_training_view_of_a_workspace_shows_what_is_logged(trained):
    views = runpy.run_path(str(ROOT / "eval/arrange_workspace.py"))
    logged = {name for record in trained[2] if record.HasField("history") for name in items(record.history.item)}
    panels = [shown for its in views["TRAINING"].values() for _, _, shown in its]
    asked = [name for shown in panels for name in [*shown.get("y", []), *shown.get("media_keys", [])]]
    asked += [shown["table_name"] for shown in panels if "table_name" in shown]
    asked += [name.removeprefix("summary:") for name in views["VIEWS"]["Training"]["columns"]]
    assert len(asked) > 10
    assert {*asked, views["STEP"]} <= logged


def write_search(folder, checkpoint):
    """A search run of two problems, each with a right and a wrong candidate."""
    rows = []
    for problem in (Problem(name, "0?", "0", "arithmetic", 1) for name in "ab"):
        candidates = tuple(Trace(problem.id, (f"#### {i}",), str(i), i == 0, num_tokens=3, index=i) for i in range(2))
        scores = tuple(Scores((0.9 - 0.5 * i,), 0.9 - 0.5 * i, read=4) for i in range(2))
        cost = Cost(generated_tokens=6, prompt_tokens=2, verifier_tokens=8, generator_calls=2, verifier_calls=2)
        result = SearchResult(problem.id, "prm_best_of_n", "best_of_n", "prm", candidates, scores, 0, True, cost)
        rows.append(results_to_row(problem, [result], lambda answers: [int(answer) for answer in answers]))
    folder.mkdir()
    write_jsonl(folder / "results.jsonl", rows)
    verifier = {"path": str(checkpoint), "num_parameters": 50, "kind": "prm"}
    generator = {"name": "student", "num_parameters": 100, "temperature": 1.0}
    meta = {"format": FORMAT, "problems": "arithmetic", "split": "test", "n": 2, "seed": 0, "seconds": 1.0}
    meta |= {"methods": {"prm_best_of_n": 2}, "generator": generator, "verifiers": {"prm": verifier}}
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


def test_a_report_joins_the_line_from_data_to_checkpoint(trained, offline, tmp_path):
    """The verifier that the report's run uses is the very version that the training run has logged."""
    checkpoint, _, training = trained
    search, output = write_search(tmp_path / "search", checkpoint), tmp_path / "my report"
    flags = {"run": search, "output_dir": output, "report_to": "wandb"}
    left, records = offline("eval/write_report.py", [f"--{name}={value}" for name, value in flags.items()])

    artifacts = artifacts_of(records)
    inputs = {name: artifact.digest for name, artifact in artifacts.items() if artifact.use_after_commit}
    logged = {name: artifact.digest for name, artifact in artifacts_of(training).items() if artifact.type == "model"}
    assert inputs == logged
    report = artifacts["report-my-report"]
    assert report.type == "evaluation"
    assert {entry.path for entry in report.manifest.contents} == {"summary.json", "report.md", "report.html"}
    numbers = {}
    for record in records:
        numbers |= items(record.summary.update)
    summary = json.loads((output / "summary.json").read_text())
    assert summary["methods"]["prm_best_of_n"]["accuracy"] == 1
    for method, values in summary["methods"].items():
        assert numbers[f"{method}/accuracy"] == values["accuracy"], method
    assert numbers["leading/accuracy"] == 1
    assert numbers["verifiers/prm/trace_auc_within_problem"] == 1

    # Linked to the run that trained the verifier, with a curve over samples and every trace in a table.
    trained = json.loads((checkpoint / "wandb_run.json").read_text())["id"]
    (begun,) = [record.run for record in records if record.HasField("run")][-1:]
    assert (begun.run_group, begun.job_type) == (f"verifier-{trained}", "evaluation")
    assert items(begun.config.update)["trained_by"] == {"prm": trained}
    history = [items(record.history.item) for record in records if record.HasField("history")]
    curve = [(row["samples"], row["accuracy/prm_best_of_n"]) for row in history if "samples" in row]
    assert curve == [(1, 0.5), (2, 1)]
    (tables,) = [row for row in history if "traces" in row]
    assert {"methods", "gains", "by_level", "flops"} <= tables.keys()
    traces = json.loads((left / "files" / tables["traces"]["path"]).read_text())
    rows = [dict(zip(traces["columns"], row, strict=True)) for row in traces["data"]]
    assert [(row["problem"], row["answer"], row["chosen by"]) for row in rows] == [
        ("a", "0", "PRM best-of-N"), ("b", "0", "PRM best-of-N"), ("a", "1", ""), ("b", "1", "")
    ]  # fmt: skip
    assert [(row["PRM"], row["PRM steps"], row["PRM and truth apart"]) for row in rows[::2]] == [
        (0.9, "0.90", 0.1), (0.4, "0.40", 0.4)
    ]  # fmt: skip


def test_a_report_whose_verifier_is_gone_is_not_logged(scripts, tmp_path):
    search = write_search(tmp_path / "search", tmp_path / "gone")
    done = scripts.run("eval/write_report.py", run=search, output_dir=tmp_path / "out", report_to="wandb")
    assert done.code == 1
    assert f"no folder {tmp_path / 'gone'} here" in done.last_line
    assert not (tmp_path / "out").exists()


def test_tensorboard_has_the_same_numbers_and_wandb_is_not_imported(flags, tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setitem(sys.modules, "wandb", None)  # an import would raise
    monkeypatch.setattr(sys, "argv", ["train_prm.py", *flags(tmp_path / "prm", "tensorboard")])
    runpy.run_path(str(ROOT / "recipes" / "train_prm.py"), run_name="__main__")

    scalars = {}
    for path in (tmp_path / "prm" / "runs").rglob("events.*"):  # the last evaluation is in a file of its own
        events = EventAccumulator(str(path)).Reload()
        for tag in events.Tags()["scalars"]:
            scalars.setdefault(tag, []).extend(event.value for event in events.Scalars(tag))
    state = json.loads((tmp_path / "prm" / "trainer_state.json").read_text())["log_history"]
    for name in ("loss", *THROUGHPUT):
        assert scalars[f"train/{name}"] == pytest.approx([entry[name] for entry in state if name in entry]), name
    metrics = json.loads((tmp_path / "prm" / "eval_results.json").read_text())
    for name in ("loss", "auc", "balanced_accuracy", "first_error_accuracy", "calibration_error"):
        assert scalars[f"eval/{name}"] == pytest.approx([metrics[f"eval_{name}"]]), name
