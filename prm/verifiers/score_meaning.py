"""What the scores of a verifier mean, in words. It depends on what the labels mean and on how they were learned.

    value, soft targets     the probability that the trace ends with the right answer
    value, counts           the same, and how far it scatters among steps that look alike to the verifier
    value, hard targets     the probability that a step is labeled good, which is another one
    ranking                 no probability: an order of the steps of one trace

A minimum of the cross-entropy, and of the squared error, is the mean of the targets given what the verifier has read. From
this follows the rest, e.g. that of a factor w on bad steps, with hard targets that are good with probability p: the minimum
is s = p / (p + w (1 - p)), and so p = s w / (1 - s + s w). Left out: how close to the minimum training came, which the
calibration error of the validation shows.
"""

from __future__ import annotations

from prm.verifiers.checkpoint import VerifierConfig

RANKS = {
    "ranking": "A score orders the steps of one trace and is not a probability: the loss of PQM puts good steps above the"
    " question alone, which stands at 0.5, and bad ones below all of them by a margin. Of two good steps it puts the later"
    " one higher. Traces were never compared with each other",
    "bradley_terry": "A score orders whole traces of one problem and is not a probability: only differences were learned. Of"
    " two traces, one of them right, that with log-odds of its score higher by d is the right one with probability"
    " 1 / (1 + exp(-d)). It is read at the last step; scores of earlier steps are by-products",
}
"""Of the objectives that compare."""

SPREAD = (
    "The spread beside it is the standard deviation of this probability among steps that look alike to the verifier: a and b"
    " of its Beta distribution are the exponentials of the logits of good and bad, the score is the mean a / (a + b), the"
    " variance score (1 - score) / (a + b + 1). It was learned from several rollouts after one step; after the last step of"
    " a trace, whose one outcome is known, it means nothing"
)
"""Of `beta_binomial`."""

MEANS = {
    ("value", "soft"): "the probability that the trace ends with the right answer if its generator continues from this"
    " step. It applies to the generator whose rollouts made the labels; a stronger or weaker one has another probability",
    (
        "value",
        "hard",
    ): "the probability that this step is labeled good: that some rollout from it ended with the right answer,"
    " unless the source of the labels says otherwise. That is not the probability that the trace ends right: a step"
    " from which one rollout of eight succeeds is as good as any",
    ("correctness", "soft"): "the mean soft label of such a step: how sure its labelers were that it is right, whatever"
    " follows",
    ("correctness", "hard"): "the probability that this step is right, whatever follows",
    ("outcome", "last"): "the probability that the whole trace ends with the right answer. It is read at the last step;"
    " scores of earlier steps are by-products",
    ("outcome", "all"): "the probability that the whole trace ends with the right answer, learned at every token: at an"
    " earlier step, as its generator would continue from there",
}
"""By the meaning of the labels, and by the targets (PRM) or the tokens (ORM) from which it was learned."""


def score_meaning(config: VerifierConfig) -> str:
    """Sentences, the first of which begins with "A score"."""
    if config.objective in RANKS:
        sentences = [RANKS[config.objective]]
    else:
        learned_from = config.tokens if config.kind == "orm" else config.targets.replace("counts", "soft")
        mean, weight = MEANS[config.semantics, learned_from], config.bad_weight
        sentences = [f"A score is {mean}"]
        if weight != 1:
            side = "below" if weight > 1 else "above"
            why = f"since bad targets counted {weight:g} times in the loss"
            sentences = [f"A score, {why}, lies {side} {mean}"]
            if config.targets == "hard":  # those of an ORM always are
                sentences.append(f"Where a score is s, the probability is {weight:g} s / (1 - s + {weight:g} s)")
    if config.objective == "beta_binomial":
        sentences.append(SPREAD)
    if config.until_first_error:
        sentences.append(
            "No step after the first bad one of a trace was trained on: scores after the first low one mean nothing"
        )
    return ". ".join(sentences) + "."
