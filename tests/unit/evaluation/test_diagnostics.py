"""From where on a report warns, and which facts it states: the last values of which nothing is said, and the first."""

from copy import deepcopy

import pytest
from search_run import META, rows, write_run

from prm.evaluation.diagnostics import warnings
from prm.evaluation.search_runs import read_runs
from prm.evaluation.sections import facts, sections
from prm.evaluation.summary import summarize


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return read_runs([write_run(tmp_path_factory.mktemp("search"), rows())])


@pytest.fixture(scope="module")
def quiet(run):
    """A summary of which nothing is to be said."""
    found = summarize(run)
    found["verifiers"]["orm"]["trace_auc_within_problem"] = 0.6
    found["equal_cost"] = []
    found["methods"]["prm_beam_search"]["generated_tokens"] = found["methods"]["pass_at_n"]["generated_tokens"] = 40
    assert warnings(run, found) == []
    return found


def change(summary, path, value):
    *folders, key = path.split("/")
    for folder in folders:
        summary = summary[folder]
    summary[key] = value


@pytest.mark.parametrize(
    ("path", "silent", "warned", "words"),
    [
        ("truncated_share", 0.05, 0.051, "5.1% of the candidates were cut at the token limit"),
        ("no_answer_share", 0.05, 0.051, "5.1% of the candidates ended without a final answer"),
        ("undecided_share", 0.0, 0.001, "0.1% of the candidates could not be checked"),
        ("verifiers/prm/too_long_share", 0.0, 0.25, "25.0% of the finished candidates are longer than prm reads"),
        ("verifiers/prm/trace_auc_within_problem", 0.5, 0.49, "prm ranks the candidates of one problem worse than chance"),
        ("verifiers/prm/trace_auc_within_problem", 0.5, None, "No problem has both right and wrong candidates: prm had"),
        ("methods/prm_beam_search/generated_tokens", 32, 31, "PRM beam search generated 0.78 times the tokens of 4 samples"),
        ("methods/prm_beam_search/generated_tokens", 50, 51, "PRM beam search generated 1.27 times the tokens of 4 samples"),
    ],
)  # fmt: skip
def test_a_warning_begins_where_it_says(run, quiet, path, silent, warned, words):
    summary = deepcopy(quiet)
    change(summary, path, silent)
    assert warnings(run, summary) == []
    change(summary, path, warned)
    (said,) = warnings(run, summary)
    assert said.startswith(words)


def test_a_verifier_that_chooses_from_no_pool_is_not_said_to_have_had_nothing_to_choose(run, quiet):
    summary = deepcopy(quiet)
    summary["verifiers"]["other"] = {"trace_auc_within_problem": None, "too_long_share": 0.0}
    assert warnings(run, summary) == []


@pytest.mark.parametrize(("n", "warned"), [(3.0, False), (None, True)])
def test_where_costs_are_made_equal_different_costs_are_no_news(run, quiet, n, warned):
    summary = deepcopy(quiet)
    summary["methods"]["prm_beam_search"]["generated_tokens"] = 80
    summary["equal_cost"] = [{"method": "prm_beam_search", "n": n}]
    assert len(warnings(run, summary)) == warned


@pytest.mark.parametrize(("without", "warned"), [(1, False), (2, True)])
def test_one_problem_of_twenty_may_be_without_a_choice(tmp_path, without, warned):
    some = [rows()[0] | {"problem_id": str(i)} for i in range(20)]
    for row in some[:without]:
        row["results"][4]["chosen"] = None
    said = summarize(read_runs([write_run(tmp_path, some)]))["warnings"]
    assert any("found no answer to choose in 10.0% of the problems" in warning for warning in said) == warned


def test_the_facts_of_a_run(quiet):
    shares = {"truncated_share": 0.125, "no_answer_share": 0.25, "undecided_share": 0.5, "vote_tie_rate": 1.0}
    models, ended = facts(quiet | shares, META)
    assert models == (
        f"generator {META['generator']['name']} with {META['generator']['num_parameters']:,} parameters, "
        + ", ".join(f"{n} {m['path']} with {m['num_parameters']:,} parameters" for n, m in META["verifiers"].items())
        + f"; temperature {META['generator']['temperature']}, seed {META['seed']}, 12 s."
    )
    assert ended == (
        "12.5% of the candidates were cut at the token limit, 25.0% ended without an answer, 50.0% could not be checked; "
        "they count as wrong. 100.0% of the majority votes were ties."
    )


def test_the_exchange_of_inference_for_size_is_the_published_one(quiet):
    (note,) = [note for title, _, note in sections(quiet) if title == "What was spent"]
    assert "as this one at 258 (R = 0.16), 63 (R = 0.79) or 16 (R = 22) times one sample" in note
    (control,) = [note for title, _, note in sections(quiet) if title == "Controls"]
    assert "Right answer, wrong step" not in control
    judged = {"prm_best_of_n": {"share": 0.5, "right": 2, "low": None, "high": None}}
    (control,) = [note for title, _, note in sections(quiet | {"false_positives": judged}) if title == "Controls"]
    assert "Right answer, wrong step" in control


def test_a_table_of_one_row_has_a_section_and_one_of_none_has_not(quiet):
    def titles(verifiers):
        return [title for title, _, _ in sections(quiet | {"verifiers": verifiers})]

    one = {"prm": quiet["verifiers"]["prm"]}
    assert ("Verifiers" in titles(one), "Verifiers" in titles({})) == (True, False)


def test_a_run_of_one_problem_is_judged_like_any_other(tmp_path):
    found = summarize(read_runs([write_run(tmp_path, rows()[:1])]))
    assert any("PRM beam search generated 2.00 times" in warning for warning in found["warnings"])
