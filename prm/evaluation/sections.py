"""The sections of a report: tables with their headings and notes. Small numbers of samples come first, then what must stand
beside a gain, details last. Both pages of `eval/write_report.py` are made of them."""

from __future__ import annotations

from typing import Any

from prm.costs import inference_multiple
from prm.evaluation.reading import percent
from prm.evaluation.search_metrics import FEWEST
from prm.evaluation.step_tables import quality_sections, step_run_sections
from prm.evaluation.tables import (
    Table,
    control_table,
    cost_table,
    difficulty_table,
    equal_cost_table,
    flops_table,
    group_table,
    level_table,
    over_majority_table,
    samples_table,
    verifier_table,
)

ESTIMATES = (
    "Accuracy with n candidates is the mean over all subsets of n of the N stored candidates: exact for best-of-N, "
    "majority and pass@N (ties share the credit), over 256 drawn subsets for the weighted vote where there are more.",
    "A method that adapts to what it sees (beam search) is not subsampled: it is one point at what it spent.",
    "Intervals are 95% percentile bootstraps over problems (10,000 resamples); differences are paired by problem.",
    f"Fewer than {FEWEST} problems have no interval (–), and methods are not compared on them: a bootstrap of so few values"
    " is much too narrow, and of one it has no width.",
    "A candidate without an answer, or cut at the token limit, is wrong, has no vote and is never preferred.",
    "pass@N counts a problem as solved if any candidate is right: the ceiling of every way to choose.",
    "At equal FLOPs, n samples with a verifier are charged the prompt once, n/N of what was written, and what the verifier"
    " reads of n traces (expected size of their tree); a vote is charged its share of the pool.",
    "Shuffled scores: within each problem's pool, in expectation; exact for best-of-N, 256 deals for the weighted vote.",
    "Verifier figures set the score of a whole trace against its outcome, over candidates with an answer.",
    "FLOPs count forward passes only, and each prompt once per request; with n < N the tokens are n/N of those spent.",
)
LARGER, RATIOS = 14, (0.16, 0.79, 22)
"""The model 14 times as large, and the tokens of inference per token of pretraining, of Snell et al. 2024 sec. 7."""

ACCURACY, LEVELS, FLOPS = "Accuracy and cost", "Accuracy by difficulty level", "Where the FLOPs went"
"""Headings of the sections that have a picture."""


def sections(summary: dict[str, Any]) -> list[tuple[str, Table, str]]:
    """(heading, table, note) of each table."""
    found = [
        (
            ACCURACY,
            samples_table(summary),
            "Accuracy with N samples. A star: the best with so many, or two that are not told apart (their paired difference"
            " may be chance). Interval and costs are those of the largest number; costs are means per problem, FLOPs 2 x"
            " parameters x tokens of both models." + legend(summary),
        ),
        (
            "Gain over majority voting at equal FLOPs",
            over_majority_table(summary),
            "Points, with the number of votes that the method's FLOPs buy, its verifier charged. Where the pool has fewer"
            " votes there is no comparison: give majority voting more samples, as in `majority samples=64`.",
        ),
        (
            "Controls",
            control_table(summary),
            "Scores shuffled: the same choice from the same pool without a verifier. A search would have sampled other"
            " steps, so its scores cannot be shuffled afterwards. Best N: where accuracy is highest; where the interval of"
            " the fall from there excludes 0, more samples hurt."
            + (
                " Right answer, wrong step: of the chosen answers that are right, by exact step truth."
                if summary["false_positives"]
                else ""
            ),
        ),
        (
            "Search against independent samples at equal cost",
            equal_cost_table(summary),
            "Points. The samples are chosen from by the method with the same verifier that is most often right with so many;"
            " between two numbers of samples, a mixture of both. A dash: the search costs more than the whole pool"
            " or less than one sample; give the pool's method more samples, as in `weighted_vote prm samples=64`.",
        ),
        (
            "Verifiers",
            verifier_table(summary),
            "AUC within a problem is the chance that a right candidate scores above a wrong one of the same problem "
            "(0.5 = no use for choosing). The length correlation should be near 0: else the score counts steps.",
        ),
    ]
    found += quality_sections(summary["steps"], "exact step truth")
    for run in summary.get("step_runs", ()):
        found += step_run_sections(run)
    if summary["by_level"]:
        note = (
            "A level has few problems: the picture shows how wide its intervals are, and none for a level of fewer than"
            f" {FEWEST} problems."
        )
        found.append((LEVELS, level_table(summary), note))
    if len(summary["by_difficulty"]) > 1:
        note = (
            "Bins of about equally many problems, by the share of right ones among the independent samples: the oracle"
            " difficulty of Snell et al. (2024). The same samples decide what is chosen from them, so the line of one sample"
            " only says how the bins were made."
        )
        found.append(("Accuracy by difficulty for the generator", difficulty_table(summary), note))
    if "groups" in summary:
        note = (
            "Each value with its 95% interval; where intervals are wide, the differences between values may be chance. A"
            f" value of fewer than {FEWEST} problems has no interval (–): its accuracy says little."
        )
        found.append((f"Accuracy by {summary['group_by']}", group_table(summary), note))
    exchange = [f"{inference_multiple(LARGER, ratio):.0f} (R = {ratio})" for ratio in RATIOS]
    note = (
        "Means per problem. Cached tokens were shared, so that neither model computed them again. The last column sets FLOPs"
        f" against those of one sample. A generator {LARGER} times as large that answers once costs as much, with its"
        f" pretraining, as this one at {', '.join(exchange[:-1])} or {exchange[-1]} times one sample, where R is the tokens"
        " of inference per token of pretraining."
    )
    found.append(("What was spent", cost_table(summary), note))
    note = "Means per problem, 2 x parameters x tokens: what the generator read (prefill) and wrote (decode), and verifiers."
    found.append((FLOPS, flops_table(summary), note))
    return [section for section in found if len(section[1]) > 1]


def legend(summary: dict[str, Any]) -> str:
    """What the labels stand for that leave something out."""
    parts = [
        f"{m['label']} is `{m['words']}`"
        for m in summary["methods"].values()
        if m["words"] and any(word not in m["label"] for word in m["words"].split() if "=" in word)
    ]
    return f" {'; '.join(parts)}." if parts else ""


def facts(summary: dict[str, Any], meta: dict[str, Any]) -> list[str]:
    models = {"generator": meta["generator"] | {"path": meta["generator"]["name"]}} | meta["verifiers"]
    sizes = ", ".join(f"{name} {m['path']} with {m['num_parameters']:,} parameters" for name, m in models.items())
    return [
        f"{sizes}; temperature {meta['generator']['temperature']}, seed {meta['seed']}, {summary['seconds']:.0f} s.",
        f"{percent(summary['truncated_share'])} of the candidates were cut at the token limit, "
        f"{percent(summary['no_answer_share'])} ended without an answer, {percent(summary['undecided_share'])} could "
        f"not be checked; they count as wrong. {percent(summary['vote_tie_rate'])} of the majority votes were ties.",
    ]
