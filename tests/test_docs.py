"""Does what the documents say still work? Links and paths lead somewhere, commands name scripts and flags that exist,
figures of the quickstart are those of one stored run.

What a command is says tests/documents.py. Flags, and the keys of the configs they name, are checked against the script's
own help; tests/scripts/test_readme_commands.py runs the commands of the READMEs.
"""

from __future__ import annotations

import doctest
import itertools
import json
import re
import runpy
import sys

import pytest
import yaml
from documents import FOLDERS, ROOT, commands_in, documents

_PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
_PATH = re.compile(r"(?<![\w./<>-])(?:prm|data|recipes|eval|tests)/[\w./{},*-]*[\w/}*]")
_FILE_NAME = re.compile(r"`(\w[\w.]*\.(?:py|yaml))`")


def paths_in(text: str) -> list[str]:
    """
    >>> paths_in("see `prm/types.py`, recipes/train_{prm,orm}.py, eval/bench_*.py; not outputs/prm/config.json, prm/")
    ['prm/types.py', 'recipes/train_prm.py', 'recipes/train_orm.py', 'eval/bench_*.py']
    """
    found = []
    for path in _PATH.findall(text):
        before, brace, rest = path.partition("{")
        inside, _, after = rest.partition("}")
        found += [before + part + after for part in inside.split(",")] if brace else [path]
    return found


COMMANDS = [(path, command) for path in documents() for command in commands_in(path.read_text(encoding="utf-8"))]
SCRIPTS_WITH_FLAGS = sorted({command[0] for _, command in COMMANDS if any(word.startswith("--") for word in command)})


def test_every_command_names_files_that_exist():
    """Inputs under outputs/ are made by other commands; everything in the folders of the repository must be there."""
    missing = [
        f"{path.relative_to(ROOT)}: {word}"
        for path, command in COMMANDS
        for i, word in enumerate(command)
        if (i == 0 or word.startswith(tuple(f"{folder}/" for folder in (*FOLDERS, "prm", "tests"))))
        and not (ROOT / word).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("script", SCRIPTS_WITH_FLAGS)
def test_every_flag_is_known(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script, "--help_all" if script.startswith("recipes/train_") else "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert end.value.code in (0, None)
    known = set(re.findall(r"(?<![\w-])--[A-Za-z][\w-]*", capsys.readouterr().out))
    unknown = []
    for path, command in COMMANDS:
        if command[0] == script:
            flags = [word.split("=")[0] for word in command if word.startswith("--")]
            for before, word in itertools.pairwise(command):
                if before == "--config" and (ROOT / word).is_file():
                    flags += [f"--{key}" for key in yaml.safe_load((ROOT / word).read_text(encoding="utf-8"))]
            unknown += [f"{path.relative_to(ROOT)}: {script} {flag}" for flag in flags if flag not in known]
    assert unknown == []


def test_every_script_says_how_it_is_run():
    scripts = {str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).glob("*.py")}
    shown = {command[0] for path, command in COMMANDS if str(path.relative_to(ROOT)) == command[0]}
    assert scripts - shown == set(), "its docstring shows no command that runs it"


def test_links_between_files():
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in documents()
        if path.suffix == ".md"
        for target in _LINK.findall(path.read_text(encoding="utf-8"))
        if not re.match(r"[a-z]+:", target) and not (path.parent / target).exists()
    ]
    assert broken == []


def test_every_path_in_markdown_exists():
    missing = [
        f"{document.relative_to(ROOT)}: {path}"
        for document in documents()
        if document.suffix == ".md"
        for path in paths_in(document.read_text(encoding="utf-8"))
        if not any(ROOT.glob(path))
    ]
    assert missing == []


def test_every_script_and_config_that_a_readme_names_exists():
    """Those without their folder, as the tables of a README name them."""
    there = {path.name for folder in (*FOLDERS, "prm", "tests") for path in (ROOT / folder).rglob("*.*")}
    missing = [
        f"{document.relative_to(ROOT)}: {name}"
        for document in documents()
        if document.name == "README.md"
        for name in _FILE_NAME.findall(document.read_text(encoding="utf-8"))
        if name not in there
    ]
    assert missing == []


def test_the_readme_explains_every_folder_of_the_library():
    """With its level, so that the table says what may import what."""
    rows = re.findall(r"^\| (\d) \| `prm/(\w+)/` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    rooms = runpy.run_path(str(ROOT / "tests/test_layers.py"))["ROOMS"]
    assert {name: int(level) for level, name in rows} == {name: level for name, level in rooms.items() if level > 0}
    assert {path.parent.name for path in (ROOT / "prm").glob("*/__init__.py")} == {name for _, name in rows}


PAGES = [path for path in documents() if path.suffix == ".md" and "```pycon" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("page", PAGES, ids=[path.name for path in PAGES])
def test_the_examples_of_a_page_print_what_it_says(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    failed, tried = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert tried > 0
    assert failed == 0


def test_python_blocks_compile():
    for path in documents():
        if path.suffix == ".md":
            for block in _PYTHON_BLOCK.findall(path.read_text(encoding="utf-8")):
                compile(block, str(path), "exec")


@pytest.fixture(scope="module")
def quickstart():
    """Parts of the summary.json of one run, with the labels of the printed table in place of the keys of methods. Renew it
    from outputs/quickstart/summary.json when figures were meant to move."""
    return json.loads((ROOT / "tests/golden/quickstart_summary.json").read_text(encoding="utf-8"))


def section(document: str, heading: str) -> tuple[str, str]:
    """The printed table in a section, and the section's sentences on one line."""
    text = (ROOT / document).read_text(encoding="utf-8")
    text = re.split(r"^#+ ", text.split(f"{heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    (table,) = [block for block in _BLOCK.findall(text) if block.startswith("method ")] or [""]
    return table, " ".join(_BLOCK.sub("", text).split())


def interval(numbers: dict[str, float]) -> str:
    return f"[{100 * numbers['low']:.1f}, {100 * numbers['high']:.1f}]"


@pytest.mark.parametrize(
    ("document", "heading"), [("README.md", "## Quickstart"), ("eval/README.md", "### The embedded set")]
)
def test_the_table_of_the_quickstart_is_that_of_the_stored_run(document, heading, quickstart):
    table, _ = section(document, heading)
    rows = [re.split(r"  +", line) for line in table.splitlines()]
    assert rows[0] == ["method", "accuracy", "95% interval", "generated tokens", "verifier tokens", "FLOPs"]
    assert {label: cells for label, *cells in rows[2:]} == {
        label: [
            f"{100 * numbers['accuracy']:.1f}%",
            interval(numbers),
            f"{numbers['generated_tokens']:,.0f}",
            f"{numbers['verifier_tokens']:,.0f}",
            f"{numbers['flops']:.2e}",
        ]
        for label, numbers in quickstart["methods"].items()
    }
    assert len(quickstart["methods"]) >= 7


def test_the_sentences_of_the_quickstart_are_those_of_the_stored_run(quickstart):
    def gain(label: str) -> str:
        numbers = quickstart["differences"][f"PRM best-of-N minus {label}"]
        return f"{100 * numbers['mean']:.1f} points {interval(numbers)}"

    accuracy = {point["n"]: 100 * point["accuracy"] for point in quickstart["curves"]["PRM best-of-N"]}
    auc = {name: numbers["trace_auc_within_problem"] for name, numbers in quickstart["verifiers"].items()}
    _, readme = section("README.md", "## Quickstart")
    assert (
        f"On {quickstart['n_problems']} unseen problems with {quickstart['N']} candidates each, the PRM's choice beats "
        f"majority voting by {gain('majority vote')}, a single sample by {gain('single sample')} and the ORM's choice "
        f"by {gain('ORM best-of-N')}."
    ) in readme
    orm = f"{100 * quickstart['methods']['ORM best-of-N']['accuracy']:.1f}%"
    assert f"ORM best-of-N was {orm} on the CPU of this table, and 60.3% and 60.6% on two other kinds" in readme
    assert f"*falls* from {accuracy[8]:.1f}% with 8 candidates to {accuracy[16]:.1f}% with 16" in readme
    assert accuracy[16] < accuracy[8]
    _, example = section("README.md", "## Score your own solution")
    assert f"it scores the right one higher in {auc['prm']:.0%} of the cases" in example

    _, evaluation = section("eval/README.md", "### The embedded set")
    assert f"(ORM best-of-N: {orm} here, 60.3% and 60.6% on two other kinds)" in evaluation
    for label, numbers in quickstart["differences"].items():
        assert f"{label} {100 * numbers['mean']:+.1f} points {interval(numbers)}" in evaluation
    assert f"AUC within a problem: PRM {auc['prm']:.3f}, ORM {auc['orm']:.3f}." in evaluation


def test_the_step_scores_of_the_quickstart_are_those_of_the_stored_run(quickstart):
    _, evaluation = section("eval/README.md", "### The embedded set")
    prm, orm = quickstart["steps"]["prm"], quickstart["steps"]["orm"]
    assert (
        f"over the {prm['traces']:,} candidates, {prm['right_steps']:.1%} of whose {prm['steps']:,} steps are right"
    ) in evaluation
    assert f"by chance {prm['lowest_last']['by_chance']:.1%}" in evaluation
    assert f"wrong process found, of {prm['wrong_process']['wrong_process']}" in evaluation
    for name, its in quickstart["steps"].items():
        within = f"{its['auc_within_problem']:.3f} [{its['low']:.3f}, {its['high']:.3f}]"
        shares = [its["lowest_last"]["share"], its["wrong_process"]["flagged"], its["wrong_process"]["flagged_right"]]
        cells = [name.upper(), within, f"{its['auc']:.3f}", f"{its['balanced_accuracy']:.1%}"]
        cells += [f"{its['calibration_error']:.3f}", *(f"{share:.1%}" for share in shares)]
        assert f"| {' | '.join(cells)} |" in evaluation
    second, of_prm = orm["by_depth"][1], prm["by_depth"][1]
    assert (
        f"its mean score is {second['score']:.3f} where {second['right_steps']:.1%} are right (PRM: {of_prm['score']:.3f})"
    ) in evaluation


def test_what_stands_beside_the_gains_of_the_quickstart_is_that_of_the_stored_run(quickstart):
    """Each row of the table; votes are the same for all methods, as all verifiers have one size."""

    def points(numbers: dict[str, float] | None) -> str:
        return "" if numbers is None else f"{100 * numbers['mean']:+.1f} {interval(numbers)}"

    _, evaluation = section("eval/README.md", "### The embedded set")
    votes = {entry["n"]: entry["votes"] for entry in quickstart["over_majority"]["PRM best-of-N"]}
    assert f"| N = 2 ({votes[2]:.1f} votes) | N = 4 ({votes[4]:.1f}) | N = 8 ({votes[8]:.1f}) |" in evaluation
    for label, judged in quickstart["false_positives"].items():
        lift = {entry["n"]: points(entry["difference"]) for entry in quickstart["over_majority"].get(label, [])}
        cells = [label, *(lift.get(n, "") for n in (2, 4, 8))]
        blind, growth = quickstart["blind"].get(label), quickstart["growth"].get(label)
        cells += [f"{100 * blind['accuracy']:.1f}%", points(blind["difference"])] if blind else ["", ""]
        cells += [str(growth["best_n"]) if growth else ""]
        cells += [points(growth["change"]) if growth and growth["best_n"] < quickstart["N"] else ""]
        row = " | ".join([*cells, f"{100 * judged['share']:.1f}% {interval(judged)}"])
        assert f"| {row} |".replace("  ", " ") in evaluation
    alone = quickstart["over_majority"]["PRM best-of-N"][0]
    assert (
        f"loses what it costs, {100 * alone['difference']['mean']:.1f} points {interval(alone['difference'])}"
        in evaluation
    )
    beam = quickstart["over_majority"]["PRM beam search"][0]["votes"]
    assert f"as much as {votes[16]:.1f} votes and beam search as much as {beam:.1f}, more than" in evaluation

    _, readme = section("README.md", "## Quickstart")
    eight = quickstart["over_majority"]["PRM best-of-N"][3]["difference"]
    gain = f"{100 * eight['mean']:.1f} points {interval(eight)}"
    assert f"its choice among 8 beats the {votes[8]:.1f} votes that cost as much by {gain}" in readme
    assert f"({100 * quickstart['blind']['PRM best-of-N']['accuracy']:.1f}%, a single sample)" in readme


@pytest.mark.parametrize(
    ("document", "heading", "others"),
    [
        ("README.md", "## Quickstart", {"0.9", "60.3", "60.6"}),  # million parameters; two other kinds of CPU
        ("README.md", "## Score your own solution", {"0.14"}),  # a score
        ("eval/README.md", "### The embedded set", {"60.3", "60.6"}),
    ],
)
def test_no_other_figure_is_in_the_sentences_of_the_quickstart(document, heading, others, quickstart):
    def figures(value: object) -> set[str]:
        if isinstance(value, dict | list):
            return set().union(*map(figures, value.values() if isinstance(value, dict) else value))
        return {f"{100 * abs(value):.1f}", f"{value:.3f}", f"{value:.1f}"} if isinstance(value, float) else set()

    _, sentences = section(document, heading)
    assert set(re.findall(r"\d+\.\d+", sentences)) - figures(quickstart) <= others


def test_the_numbers_of_the_labeling_methods_are_the_defaults_of_the_code():
    from prm.labelers import PLANNERS
    from prm.labelers.adaptive import Adaptive
    from prm.labelers.first_error import FirstError
    from prm.labelers.monte_carlo import MonteCarlo
    from prm.labelers.omega_prm import OmegaPRM

    text = (ROOT / "data/README.md").read_text(encoding="utf-8")
    table = {line.split("`")[1]: line for line in reversed(text.splitlines()) if line.startswith("| `")}
    assert PLANNERS.keys() <= table.keys()
    assert f"or {FirstError().rollouts} fail, {FirstError().confirm} for the first error" in table["first_error"]
    adaptive, omega = Adaptive(), OmegaPRM()
    assert f"`--tolerance` ({adaptive.tolerance}), at most {adaptive.rollouts} |" in table["adaptive"]
    assert f"| {omega.rollouts} (`--rollouts`) per state, {omega.searches} searches" in table["omega_prm"]
    # The paper's own values, sec. 4.1 and table 4 of 2406.06592.
    assert (omega.alpha, omega.beta, omega.length, omega.c_puct) == (0.5, 0.9, 500, 0.125)
    assert MonteCarlo().rollouts == 8
