"""A job of stand-in commands; what a person sees of one is tested in tests/scripts/test_quickstart.py."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time

import pytest

from prm import stages
from prm.stages import Stages


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGTERM)
    (tmp_path / "count.py").write_text(
        "import sys\nprint('x', file=sys.stderr)\nopen('count', 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
    )
    yield
    signal.signal(signal.SIGTERM, handler)


def test_a_stage_that_a_limit_stopped_is_run_again_and_its_seconds_add_up(tmp_path):
    stages = Stages(tmp_path / "job", "log")
    (tmp_path / "job/.count.seconds").write_text("100")  # of a start that was killed
    first = stages.once("count", "count.py", "count", limit="--max_hours 1", complete=lambda: False)
    assert first > 100
    assert (tmp_path / "job/.count.seconds").read_text() == f"{first:.3f}"
    second = stages.once("count", "count.py", "count", limit="--max_hours 2")
    assert second > first
    assert stages.once("count", "count.py", "count", limit="--max_hours 3") == second
    assert (tmp_path / "count").read_text() == "--max_hours 1\n--max_hours 2\n"


def test_other_settings_are_refused(tmp_path):
    stages = Stages(tmp_path / "job", "log")
    stages.once("count", "count.py 1", "count")
    with pytest.raises(
        ValueError, match=r"job holds a run with other settings \(count changed\); delete .*job to start"
    ):
        stages.once("count", "count.py 2", "count")


def test_a_stage_is_not_run_again_where_the_project_has_moved(tmp_path):
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "count.py").write_text((tmp_path / "count.py").read_text())
        stages = Stages(tmp_path / "job", "log", root=tmp_path / place)
        stages.once("count", "count.py 1", "count")
        del stages  # and with it the lock
    assert (tmp_path / "count").read_text() == "1\n"
    assert "$ python count.py 1 \n" in (tmp_path / "job/log.log").read_text()


JOB = """
import sys
from pathlib import Path
from prm.stages import Stages
Stages(Path("job"), "log").run("sleep", "sleep.py")
"""


def test_no_second_job_beside_a_stage_that_outlived_the_first(tmp_path):
    (tmp_path / "sleep.py").write_text(
        "import os, time\nopen('pid', 'w').write(str(os.getpid()))\nos.rename('pid', 'running')\ntime.sleep(60)\n"
    )
    job = subprocess.Popen([sys.executable, "-c", JOB], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "running").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    stage = int((tmp_path / "running").read_text())
    with pytest.raises(ValueError, match="job is in use by a job that still runs; wait for it, or end it"):
        Stages(tmp_path / "job", "log")
    job.kill()
    job.wait()
    with pytest.raises(ValueError, match="still runs"):
        Stages(tmp_path / "job", "log")
    os.kill(stage, signal.SIGTERM)
    while True:
        try:
            Stages(tmp_path / "job", "log")
            break
        except ValueError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_command_that_fails_ends_the_job_with_its_last_lines_and_how_to_run_it(tmp_path, capsys):
    (tmp_path / "fail.py").write_text(
        "import sys\nfor i in range(20): print('line', i)\nprint()\nprint('no such file', file=sys.stderr)\nsys.exit(3)\n"
    )
    job = Stages(tmp_path / "job", "log")
    (tmp_path / "job/log.log").write_text("of an earlier stage\n")
    with pytest.raises(SystemExit) as error:
        job.once("2/6 fail", "fail.py --name 'a b'", "fail")
    message = str(error.value)
    assert message.startswith(f"\nerror: 2/6 fail failed (exit code 3). The end of {tmp_path}/job/log.log:\n\n")
    shown = [line for line in message.splitlines() if line.startswith("    ")]
    assert sorted(shown[:-1]) == sorted(
        f"    {line}" for line in [*(f"line {i}" for i in range(6, 20)), "no such file"]
    )
    assert shown[-1] == f"    {sys.executable} fail.py --name 'a b'"
    assert f"by hand in {tmp_path}:" in message
    assert capsys.readouterr().out == f"{'2/6 fail':24}starting\n"
    assert not (tmp_path / "job/.fail.done").exists()
    assert (tmp_path / "job/log.log").read_text().startswith("of an earlier stage\n\n$ python fail.py --name 'a b'")


def test_a_stage_that_ended_is_not_run_again(tmp_path, capsys):
    job = Stages(tmp_path / "job", "log", width=8)
    seconds = job.once("count", "count.py", "count", {"seed": 0})
    (tmp_path / "job/.count.done").write_text(
        json.dumps({"fingerprint": {"command": "count.py", "seed": 0}, "seconds": 61.7})
    )
    assert job.once("count", "count.py", "count", {"seed": 0}) == 61.7
    assert capsys.readouterr().out.splitlines() == [
        "count   starting", f"count   {seconds:.0f} s", "count   done already, in 62 s"
    ]  # fmt: skip
    assert (tmp_path / "count").read_text() == "\n"
    with pytest.raises(ValueError, match=r"other settings \(the seed changed\)"):
        job.once("count", "count.py", "count", {"seed": 1}, changed="the seed")


BARS = """
import sys, time
for text in (
    "\\rlabels:   0%|          | 0/10 [00:00<?, ?it/s]",
    "\\r  5%|5         | 5/100 [00:05<01:35,  1.00it/s]",
    "\\rfirst:  20%|5         | 1/5 [00:01<00:04,  1.00s/it]\\rlabels:  50%|#####     | 5/10 [00:01<00:01, 4.9it/s, x]",
):
    sys.stderr.write(text); sys.stderr.flush(); time.sleep(0.1)
print("printed")
"""


def test_on_a_terminal_one_line_is_kept_up_to_date(tmp_path, capfdbinary, monkeypatch):
    (tmp_path / "bars.py").write_text(BARS)
    monkeypatch.setattr(stages, "ON_TERMINAL", True)
    monkeypatch.setenv("COLUMNS", "50")
    told = []
    job = Stages(tmp_path / "job", "log")
    seconds, printed = job.run("3/6 train", "bars.py", stdout=subprocess.PIPE, alive=told.append)
    assert 0 < told[0] <= told[-1] <= seconds
    shown = capfdbinary.readouterr().out.decode().split("\r\x1b[2K")
    title = f"{'3/6 train':24}"
    assert shown == [
        "",
        f"{title}starting",
        f"{title}labels 0%",
        f"{title}5%  01:35 left  1.00it/s",
        f"{title}labels 50%  00:01 left  4.9it/s, x"[:49],
        f"{title}{seconds:.0f} s\n",
    ]
    assert printed == "printed\n"
    assert (tmp_path / "job/log.log").read_text().endswith("printed\n")


@pytest.mark.parametrize(("terminal", "ci", "shown"), [(True, "", True), (True, "true", False), (False, "", False)])
def test_a_line_is_kept_up_to_date_on_a_terminal_that_a_person_sees(terminal, ci, shown, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    monkeypatch.setenv("CI", ci)
    assert runpy.run_path(stages.__file__)["ON_TERMINAL"] is shown


def test_who_ends_the_job_ends_its_stage(tmp_path, monkeypatch):
    (tmp_path / "sleep.py").write_text("import sys, time\nprint('x', file=sys.stderr, flush=True)\ntime.sleep(60)\n")

    def interrupt(seconds):
        raise KeyboardInterrupt

    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **more: started.append(popen(*args, **more)) or started[-1])
    with pytest.raises(KeyboardInterrupt):
        Stages(tmp_path / "job", "log").run("sleep", "sleep.py", alive=interrupt)
    assert started[0].returncode == -signal.SIGTERM


def test_a_stage_has_one_thread_unless_it_is_told_otherwise(tmp_path, monkeypatch):
    (tmp_path / "env.py").write_text(
        "import os\nprint(os.environ['OMP_NUM_THREADS'], os.environ['PYTHONUNBUFFERED'])\n"
    )
    for threads, shown in ((None, "1 1\n"), ("3", "3 1\n")):
        monkeypatch.delenv("OMP_NUM_THREADS") if threads is None else monkeypatch.setenv("OMP_NUM_THREADS", threads)
        assert Stages(tmp_path / f"job{threads}", "log").run("env", "env.py", stdout=subprocess.PIPE)[1] == shown


def test_a_start_that_was_killed_before_it_wrote_its_seconds_counts_for_none(tmp_path):
    (tmp_path / "job").mkdir()
    (tmp_path / "job/.count.seconds").touch()
    (tmp_path / "quick.py").touch()
    assert Stages(tmp_path / "job", "log").once("quick", "quick.py", "count") < 1


def test_a_stage_that_reports_no_progress_is_done_too(tmp_path):
    (tmp_path / "quiet.py").write_text("")
    stages = Stages(tmp_path / "job", "log")
    assert stages.once("quiet", "quiet.py", "quiet") == stages.once("quiet", "quiet.py", "quiet")


def test_the_seconds_of_a_stage_that_failed_are_not_lost(tmp_path):
    (tmp_path / "fails.py").write_text("import sys\nprint('x', file=sys.stderr, flush=True)\nsys.exit(3)\n")
    with pytest.raises(SystemExit, match=r"fails failed \(exit code 3\)"):
        Stages(tmp_path / "job", "log").once("fails", "fails.py", "fails")
    assert float((tmp_path / "job/.fails.seconds").read_text()) > 0
