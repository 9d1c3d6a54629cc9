"""What a person sees of the quickstart: a line per stage and a table. The stages are stand-ins of a few lines each, in a
repository of their own; `test_main_job.py` and the tests of the scripts run the real ones."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

STAGES = {
    "data/sample_traces.py": "data/configs/arithmetic_traces.yaml",
    "data/label_steps.py": "data/configs/arithmetic_labels.yaml",
    "recipes/train_prm.py": "recipes/configs/prm_arithmetic.yaml",
    "recipes/train_orm.py": "recipes/configs/orm_arithmetic.yaml",
    "eval/run_search.py": "eval/configs/arithmetic_search.yaml",
    "eval/report_verifier.py": "eval/configs/arithmetic_verifiers.yaml",
}
STAND_IN = """
import os, sys, time
from tqdm import tqdm
print("printed by", sys.argv[0])
print("a library warns", file=sys.stderr)
for _ in tqdm(range(4), desc="stage", unit="problem", mininterval=0):
    time.sleep(0.02)
print("threads", os.environ["OMP_NUM_THREADS"])
"""
TABLE = "method  accuracy\nPRM     72.3%\n"


@pytest.fixture
def repository(root, tmp_path) -> Path:
    for folder in ("data", "recipes", "eval"):
        (tmp_path / folder / "configs").mkdir(parents=True)
    shutil.copy(root / "recipes/quickstart.py", tmp_path / "recipes")
    for script, config in STAGES.items():
        (tmp_path / script).write_text(STAND_IN)
        (tmp_path / config).write_text("seed: 0\n")
    report = "import sys\nprint('a library warns', file=sys.stderr)\nprint(sys.argv[5:], end='\\n')\n"
    (tmp_path / "eval/write_report.py").write_text(report + f"print({TABLE!r}, end='')\n")
    return tmp_path


def start(repository: Path, *arguments: str, output: int = subprocess.PIPE) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "recipes/quickstart.py", *arguments],
        cwd=repository,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "CI"},
    )


def run(repository: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and what it printed through a pipe."""
    job = start(repository, *arguments)
    printed, _ = job.communicate(timeout=60)
    return job.returncode, printed


def log_of(repository: Path) -> str:
    return (repository / "outputs/quickstart/quickstart.log").read_text()


def test_through_a_pipe_a_stage_is_a_line_when_it_starts_and_one_when_it_ends(repository):
    code, printed = run(repository)
    assert code == 0
    assert re.sub(r"\b[\d.]+(?= s$|'\])", "N", printed, flags=re.MULTILINE) == (
        "Seven stages on the embedded problem set, about six minutes in all. What they print: "
        "outputs/quickstart/quickstart.log\n\n"
        "1/7 sample traces       starting\n"
        "1/7 sample traces       N s\n"
        "2/7 label their steps   starting\n"
        "2/7 label their steps   N s\n"
        "3/7 train the PRM       starting\n"
        "3/7 train the PRM       N s\n"
        "4/7 train the ORM       starting\n"
        "4/7 train the ORM       N s\n"
        "5/7 search              starting\n"
        "5/7 search              N s\n"
        "6/7 report on verifiers starting\n"
        "6/7 report on verifiers N s\n"
        "7/7 write the report    starting\n"
        "7/7 write the report    N s\n\n"
        "['--seconds', 'N']\n"
        "method  accuracy\n"
        "PRM     72.3%\n"
    )


def test_what_the_stages_print_is_in_the_log(repository):
    _, printed = run(repository)
    log = log_of(repository)
    assert "a library warns" not in printed
    assert log.count("a library warns") == 7
    assert log.count("threads 1") == 6
    assert re.findall(r"^\$ python (\S+)", log, re.MULTILINE) == [*STAGES, "eval/write_report.py"]
    assert log.index("$ python data/label_steps.py --config") < log.index("printed by data/label_steps.py")
    assert "stage: 100%" in log
    assert TABLE in log


def test_on_a_terminal_one_line_per_stage_is_kept_up_to_date(repository):
    reader, writer = pty.openpty()
    job = start(repository, output=writer)
    os.close(writer)
    printed = b""
    try:
        while chunk := os.read(reader, 65536):
            printed += chunk
    except OSError:  # how Linux says that nobody writes any more
        pass
    os.close(reader)
    assert job.wait(timeout=60) == 0
    stage = [line for line in printed.decode().split("\n") if "1/7 sample traces" in line]
    assert len(stage) == 1
    states = [state.strip() for state in stage[0].split("\r\x1b[2K")]
    assert states[1] == "1/7 sample traces       starting"
    assert any(re.fullmatch(r"1/7 sample traces       stage \d+%  \d\d:\d\d left  .*problem/s", s) for s in states)
    assert re.fullmatch(r"1/7 sample traces       \d+ s", states[-1])


def test_a_finished_job_prints_the_table_and_times_nothing_again(repository):
    _, first = run(repository)
    log = log_of(repository)
    code, second = run(repository)
    assert code == 0
    assert second.count("done already, in ") == 6
    total = [re.search(r"'--seconds', '[\d.]+'", printed)[0] for printed in (first, second)]
    assert total[0] == total[1]
    assert second.endswith(TABLE)
    assert log_of(repository).startswith(log), "the log is appended to"


def test_a_failed_stage_says_why_where_and_how_to_look_into_it(repository):
    (repository / "recipes/train_prm.py").write_text(STAND_IN + "sys.exit('no such data')\n")
    code, printed = run(repository)
    assert code == 1
    end = printed[printed.index("\nerror: 3/7 train the PRM failed") :]
    assert end.startswith(
        "\nerror: 3/7 train the PRM failed (exit code 1). The end of outputs/quickstart/quickstart.log:\n\n"
        "    printed by recipes/train_prm.py\n    a library warns\n"
    )
    assert "    no such data\n\n" in end
    assert "%|" not in end
    command = "recipes/train_prm.py --overwrite_output_dir --config recipes/configs/prm_arithmetic.yaml"
    assert end.endswith(f"{sys.executable} {command}\n")
    (repository / "recipes/train_prm.py").write_text(STAND_IN)
    code, printed = run(repository)
    assert code == 0
    assert printed.count("done already") == 2


def test_changed_settings_are_refused(repository):
    run(repository)
    (repository / "data/configs/arithmetic_labels.yaml").write_text("seed: 1\n")
    code, printed = run(repository)
    assert code == 1
    assert printed.endswith(
        "\nerror: outputs/quickstart holds a run with other settings (data/configs/arithmetic_labels.yaml changed); "
        "delete outputs/quickstart to start over\n"
    )


def test_an_interrupt_ends_the_stage_and_says_how_to_go_on(repository):
    waits = "import os, time\nopen('pid', 'w').write(str(os.getpid()))\nos.rename('pid', 'running')\ntime.sleep(60)\n"
    (repository / "data/label_steps.py").write_text(waits)
    job = start(repository)
    deadline = time.monotonic() + 30
    while not (repository / "running").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    job.send_signal(signal.SIGINT)
    printed, _ = job.communicate(timeout=30)
    assert job.returncode == 130
    assert printed.endswith("\nto go on: python recipes/quickstart.py\n")
    with pytest.raises(ProcessLookupError):
        os.kill(int((repository / "running").read_text()), 0)
    done = repository / "outputs/quickstart/.arithmetic_traces.done"
    assert json.loads(done.read_text())["seconds"] > 0
    assert not (repository / "outputs/quickstart/.arithmetic_labels.done").exists()


def test_help_starts_nothing(repository):
    code, printed = run(repository, "--help")
    assert code == 0
    assert "The main job on the embedded problem set" in printed
    assert not (repository / "outputs").exists()
