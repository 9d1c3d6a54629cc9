"""Generative verifiers: the chance of a verdict against plain forward passes, votes, costs, what cannot be read, servers."""

import math
import re
from dataclasses import replace
from statistics import fmean

import pytest
import torch

from prm.costs import ModelShape, scoring_cost
from prm.datasets.arithmetic import build_tokenizer
from prm.encoding.critiques import ARITHMETIC, CritiqueForm
from prm.encoding.prompts import PromptTemplate
from prm.generators.chat import Answer, ChatCritic, GeneratorCritic
from prm.generators.endpoint import Endpoint, EndpointError
from prm.generators.hf import HfGenerator
from prm.verifiers import find_verifier, is_served, kind_of, load_verifier
from prm.verifiers.families import FAMILIES, Critic, find_family
from prm.verifiers.generative import GenerativeVerifier

PROMPT = "Start with 47, add 38."
STEPS = ("47 + 38 = 75", "#### 75")


class Scripted:
    """A critic that answers each question by its number, with odds of 3 to 1 for what it says; None is cut."""

    name = "scripted"

    def __init__(self, *texts):
        self.texts, self.asked = texts, []

    def ask(self, questions, commit):
        for question in reversed(questions):  # the order in which they come does not matter
            self.asked.append((question.index, question.seed))
            text = self.texts[question.index]
            words = FAMILIES["generative"].critic.form
            odds = []
            for place, good in words.read(text or "", (text or "").count("boxed")) or ():
                odds.append((place, place + 3, math.log(3) if good else -math.log(3)))
            commit([Answer(question.key, question.index, 0, text or "so", text is not None, 20, 5, tuple(odds))])


YES, NO = "Step 1: \\boxed{correct}, step 2: \\boxed{correct}", "Step 1: \\boxed{correct}, step 2: \\boxed{incorrect}"


def scripted(*texts, **settings):
    return GenerativeVerifier(Scripted(*texts), Critic(CritiqueForm(), **settings))


def test_only_one_verdict_per_step_is_read():
    form = CritiqueForm()
    assert form.read(YES, 2) == [(15, True), (40, True)]
    assert [good for _, good in form.read(NO, 2)] == [True, False]
    for text in (YES, YES[:30], "\\boxed{corrects} \\boxed{correct}", "\\boxed{Correct}", ""):
        assert form.read(text, 3) is None
    assert [text[3:] for text in form.question("P", ["a", "Step 2: b"]).split("\n") if text[:4] == "Step"] == [
        "p 1: a",
        "p 2: b",
    ]
    assert "Let $solution be {problem}" in form.question("Let $solution be {problem}", STEPS)  # filled in at once
    for wrong in ({"text": "$problem"}, {"marker": ""}, {"good": "correct", "bad": "caution"}):
        with pytest.raises(ValueError, match=r"\$solution|empty"):
            CritiqueForm(**wrong)


def test_the_score_is_the_mean_over_votes_and_bad_critiques_are_asked_again():
    verifier = scripted(None, NO, "no verdict", YES, YES, votes=2)
    (scores,) = verifier.score_batch([PROMPT], [STEPS])
    assert scores.steps == pytest.approx((0.75, (0.75 + 0.25) / 2))
    assert scores.trace == min(scores.steps)
    assert verifier.ledger == {
        "critiques": 4,
        "tokens written": 20,
        "unreadable: cut": 1,
        "unreadable: not one verdict per step": 1,
    }
    assert sorted(index for index, _ in verifier.writer.asked) == [0, 1, 2, 4]
    assert len({seed for _, seed in verifier.writer.asked}) == 4
    # Three rounds of reading, none of which is free, and all that was written.
    assert (scores.read, scores.cached, scores.written) == (60, 0, (5, 5, 5, 5))


def test_without_probabilities_it_is_the_share_of_votes():
    verifier = scripted(YES, NO, YES, YES, votes=4, logprobs=False)
    (scores,) = verifier.score_batch([PROMPT], [STEPS])
    assert scores.steps == (1.0, 0.75)


def test_what_cannot_be_read_has_no_score():
    verifier = scripted(YES, None, YES, None, votes=2, retries=1)
    with pytest.warns(UserWarning, match="1 of 1 traces have no score"):
        assert verifier.score_batch([PROMPT], [STEPS]) == [None]
    with pytest.warns(UserWarning, match="1 of 1"), pytest.raises(ValueError, match="has no score"):
        verifier.score(PROMPT, STEPS)
    with pytest.raises(ValueError, match=r"none of 2 critiques can be read .*'\?'; a verdict reads '.*boxed\{correct'"):
        scripted("?", "?", votes=1, retries=1).score_batch([PROMPT], [STEPS])


def test_an_answer_of_no_tokens_that_is_finished_is_asked_again():
    class Silent(Scripted):
        def ask(self, questions, commit):
            for question in questions:
                self.asked.append((question.index, question.seed))
                if question.index:
                    super().ask([question], commit)
                else:
                    commit([Answer(question.key, 0, 0, "", True, 20, 0, ())])

    verifier = GenerativeVerifier(Silent(None, YES), Critic(CritiqueForm()))
    assert verifier.score_batch([PROMPT], [STEPS])[0].steps == pytest.approx((0.75, 0.75))
    assert verifier.ledger["unreadable: not one verdict per step"] == 1


def test_traces_with_the_same_text_are_asked_once():
    verifier = scripted(YES, NO)
    first, second, other = verifier.score_batch([PROMPT] * 3, [STEPS, STEPS, ("a", "b")])
    assert (second.steps, second.read, second.cached, second.written) == (first.steps, 0, 20, ())
    assert (other.read, other.written, verifier.ledger["critiques"]) == (20, (5,), 2)


@pytest.fixture(scope="module", params=["plain_tokenizer", "merging_tokenizer", "trimming_tokenizer"])
def generator(request, tiny_llama):
    tokenizer = request.getfixturevalue(request.param)
    settings = {"template": PromptTemplate(), "step_rule": "whole", "max_new_tokens": 12, "temperature": 0.7}
    return HfGenerator(tiny_llama(len(tokenizer)), tokenizer, name="tiny", **settings)


@torch.inference_mode()
def test_odds_are_those_of_a_plain_forward_pass(generator):
    """Of a random model, the two tokens that it samples most often."""
    prefixes = [generator.encode(f"{PROMPT}{' ' * i}") for i in (0, 0, 0, 1, 2, 3)]
    sampled = [i for its in generator.generate(prefixes, range(6)) for i in its.token_ids]
    whole = {i for i in sampled if "\ufffd" not in generator.tokenizer.decode([i])}  # no part of a character
    words = tuple(sorted(whole - generator._ids.end_ids, key=sampled.count)[-2:])
    found = generator.generate(prefixes, range(6), watched=words)
    assert [its.token_ids for its in found] == [its.token_ids for its in generator.generate(prefixes, range(6))]
    seen = 0
    for prefix, its in zip(prefixes, found, strict=True):
        logits = generator.model(torch.tensor([[*prefix, *its.token_ids]])).logits[0, len(prefix) - 1 :].double()
        expected = [(i, logits[i].softmax(-1)) for i, token in enumerate(its.token_ids) if token in words]
        for (begin, end, odds), (i, chances) in zip(its.odds, expected, strict=True):
            yes, no = (chances[word].item() for word in words)
            assert 1 / (1 + math.exp(-odds)) == pytest.approx(yes / (yes + no), abs=1e-5)
            token = generator.tokenizer.decode([its.token_ids[i]])
            assert its.text[begin:end] in (token.lstrip(), token)
            seen += 1
    assert seen > 3


@pytest.fixture(scope="module")
def writer(tiny_llama):
    """A random model of the embedded sets' tokens that says little but verdicts, so that some of its texts are critiques."""
    tokenizer = build_tokenizer()
    model = tiny_llama(len(tokenizer))
    likely = [*ARITHMETIC.word_ids(tokenizer), *tokenizer("#### ")["input_ids"], tokenizer.eos_token_id]

    def bias(module, arguments, output):
        output.logits = output.logits / 8 + torch.full((len(tokenizer),), -40.0).index_fill(
            0, torch.tensor(likely), 0.0
        )
        return output

    model.register_forward_hook(bias)
    settings = {"template": PromptTemplate(), "step_rule": "whole", "max_new_tokens": 8}
    return GeneratorCritic(HfGenerator(model, tokenizer, name="tiny", **settings), 8, ARITHMETIC.word_ids(tokenizer))


def test_scores_and_costs_of_a_model_are_those_of_a_hand_computation(writer, monkeypatch):
    """Two votes on two steps: what was asked, written and read is put together again from the calls of the engine."""
    generator, calls = writer.generator, []

    def generate(prefixes, *arguments, **options):
        calls.append((list(map(tuple, prefixes)), HfGenerator.generate(generator, prefixes, *arguments, **options)))
        return calls[-1][1]

    monkeypatch.setattr(generator, "generate", generate)
    critic = Critic(ARITHMETIC, votes=2, retries=100, temperature=1.0, top_p=1.0, max_new_tokens=8)
    (scores,) = GenerativeVerifier(writer, critic).score_batch([PROMPT], [STEPS])

    good, bad = ARITHMETIC.word_ids(generator.tokenizer)
    first = tuple(generator.encode(f"{PROMPT}\n{STEPS[0]}"))
    chances, seen, read, written = [[], []], set(), 0, []
    for prefixes, continuations in calls:
        # Of each text what no earlier call has read; of one that is asked for again the last token.
        for prefix in dict.fromkeys(prefixes):
            known = max((len(its) for its in seen if prefix[: len(its)] == its), default=0)
            read += len(prefix) - min(known, len(prefix) - 1)
        seen |= set(prefixes)
        for prefix, its in zip(prefixes, continuations, strict=True):
            written.append(len(its.token_ids))
            if its.stop == "length" or len(re.findall(r"#### [01](?!\w)", its.text)) != 1:
                continue
            texts = [generator.tokenizer.decode(its.token_ids[: i + 1]) for i in range(len(its.token_ids))]
            place = next(i for i, text in enumerate(texts) if re.search("#### [01]$", text))
            inputs = torch.tensor([[*prefix, *its.token_ids[:place]]])
            with torch.inference_mode():
                both = generator.model(input_ids=inputs).logits[0, -1].double()[[good, bad]].softmax(-1)
            chances[prefix != first].append(both[0].item())
            if prefix == first:
                following = generator.tokenizer(f"{its.text.rstrip()}\n{STEPS[1]}\n")["input_ids"]
                assert (*first, *following) in {other for others, _ in calls for other in others}
    assert [len(its) for its in chances] == [2, 2]
    assert len(written) > 4  # else nothing was asked again
    assert scores.steps == pytest.approx([fmean(its) for its in chances], abs=1e-5)
    assert 0.05 < min(map(min, chances)) < max(map(max, chances)) < 0.95

    assert (scores.read, scores.cached, sorted(scores.written)) == (read, 0, sorted(written))
    shape, tokens = ModelShape(1000, 10), sum(written)
    cost = scoring_cost([STEPS], [scores], 1000, shape=shape)
    assert (cost.verifier_tokens, cost.written_verifier_tokens) == (read + tokens, tokens)
    assert cost.flops == 2 * 1000 * (read + tokens)
    assert cost.flops_by_shape == shape.flops(0, read) + sum(shape.flops(read, read + its) for its in written)


def test_step_by_step_traces_that_begin_alike_share_their_critiques(writer):
    critic = Critic(ARITHMETIC, retries=100, temperature=1.0, top_p=1.0, max_new_tokens=8)
    one, other, again = GenerativeVerifier(writer, critic).score_batch(
        [PROMPT] * 3, [STEPS, (STEPS[0], "#### 85"), STEPS[:1]]
    )
    assert one.steps[0] == other.steps[0] == again.steps[0]
    assert one.steps[1] != other.steps[1]
    assert one.cached == 0 < other.cached
    assert (again.read, again.written) == (0, ())
    (alone,) = GenerativeVerifier(writer, critic).score_batch([PROMPT], [(STEPS[0], "#### 85")])
    assert (alone.steps, alone.read) == (other.steps, other.read + other.cached)
    assert alone.written[-len(other.written) :] == other.written != alone.written


def test_what_is_learned_is_what_is_asked():
    """One after the other, the turns of a row are the questions and their answers."""
    said = ["47 + 38, carry 1 = 85\n#### 0\n", "85\n#### 0"]
    prompt, turns = ARITHMETIC.turns(PROMPT, STEPS, said)
    text = prompt + "\n"
    for i, (given, learned) in enumerate(turns):
        text += given
        assert text == ARITHMETIC.question(PROMPT, STEPS, said[:i]) + "\n"
        text += learned
    assert text.endswith("#### 75\n85\n#### 0\n")


# ---- servers


class Server(Endpoint):
    def __init__(self, *choices):
        super().__init__("http://host")
        self.choices, self.bodies = list(choices), []

    async def ask(self, client, path, body, read):
        self.bodies.append(body)
        answer = read({"choices": [self.choices.pop(0)], "usage": {"prompt_tokens": 9, "completion_tokens": 4}})
        self.answered += 1
        return answer


def choice(text, *tokens, **more):
    """Tokens are (text, {alternative: probability})."""
    content = []
    for token, chances in tokens:
        top = [{"token": name, "logprob": math.log(p)} for name, p in chances.items()]
        content.append({"token": token, "bytes": list(token.encode()), "top_logprobs": top})
    said = {"message": {"content": text}, "finish_reason": "stop", "logprobs": {"content": content}}
    return said | more


def test_a_server_is_asked_for_the_chances_of_both_words():
    verdict = {"correct": 0.5, " incorrect": 0.05, "in": 0.2, "The": 0.01, "corr": 0.1}
    text = "é: \\boxed{correct}."
    said = choice(
        text,
        ("<think>", {"a": 1.0}),
        ("é:", {"é:": 1.0}),
        (" \\boxed{", {"x": 1.0}),
        ("correct", verdict),
        ("}.", {"x": 1.0}),
    )
    server = Server(said, said | {"logprobs": None})
    verifier = GenerativeVerifier(
        ChatCritic(server, "m", max_new_tokens=9, words=("correct", "incorrect")), Critic(CritiqueForm())
    )
    assert verifier.score(PROMPT, STEPS[:1]) == pytest.approx([0.6 / 0.85], abs=1e-9)
    assert (server.bodies[0]["logprobs"], server.bodies[0]["top_logprobs"]) == (True, 20)
    assert server.bodies[0]["messages"][0]["content"].startswith("You are given a math problem")
    unsure = choice(
        text,
        *[(name, {name: 1.0}) for name in ("é:", " \\boxed{")],
        ("correct", {"correct": 0.9, "so": 0.02}),
        ("}.", {"x": 1.0}),
    )
    server.choices = [unsure]
    assert verifier.score(PROMPT, STEPS[:1]) == pytest.approx([0.9 / 0.92])  # as likely as the last that is named


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (choice("\\boxed{correct}", logprobs=None), "gives no logprobs, so .* say `logprobs: false` and several votes"),
        (choice("\\boxed{correct}", ("else", {"x": 1.0})), "logprobs of other tokens than those of its text"),
    ],
)
def test_a_server_without_logprobs_is_refused_by_name(said, message):
    critic = ChatCritic(Server(said), "m", max_new_tokens=9, words=("correct", "incorrect"))
    with pytest.raises(EndpointError, match=f"http://host {message}|http://host gives {message}"):
        GenerativeVerifier(critic, Critic(CritiqueForm())).score(PROMPT, STEPS[:1])


# ---- names


def test_names_and_settings(tmp_path):
    name = "generative:org/model@http://127.0.0.1:9/v1"
    assert (is_served(name), kind_of(name)) == (False, "prm")
    assert is_served("outputs/prm@http://127.0.0.1:9")
    verifier = find_verifier(name)
    assert (verifier.writer.endpoint.url, verifier.num_parameters, verifier.model) == ("http://127.0.0.1:9/v1", 0, None)
    mine = tmp_path / "mine.yaml"
    mine.write_text("like: arithmetic_critic\ncritic: {votes: 4, temperature: 1.0, batch_size: 8}\naggregation: last\n")
    of_four = find_family(str(mine))
    usual = FAMILIES["arithmetic_critic"]
    assert of_four == replace(
        usual, aggregation="last", critic=replace(usual.critic, votes=4, temperature=1.0, batch_size=8)
    )
    voters = replace(FAMILIES["generative"].critic, votes=4)
    names = {
        GenerativeVerifier(verifier.writer, its).name
        for its in (verifier.critic, replace(verifier.critic, batch_size=2), voters)
    }
    assert len(names) == 2  # how many are written at once changes nothing
    for text, message in (
        ("critic: {votes: 0}", "votes 0"),
        ("critic: {retries: 1}", "every critique is the same"),
        ("critic: {logprobs: false, temperature: 1.0}", "needs several votes"),
        ("critic: {form: {good: '0'}}", "different letters"),
        ("critic: {vote: 2}", "critic.vote is no key"),
    ):
        mine.write_text(f"like: arithmetic_critic\n{text}\n")
        with pytest.raises(ValueError, match=message):
            find_family(str(mine))
    with pytest.raises(ValueError, match="takes no base_model"):
        load_verifier(name, base_model="x")
    with pytest.raises(ValueError, match="start `vllm serve`"):
        find_verifier("generative:org/model@vllm")


def test_words_that_are_one_token_are_refused():
    tokenizer = build_tokenizer()
    assert tokenizer.convert_ids_to_tokens(list(ARITHMETIC.word_ids(tokenizer))) == ["1", "0"]
    with pytest.raises(ValueError, match="makes the same tokens"):
        replace(ARITHMETIC, good="yes", bad="no").word_ids(tokenizer)


@pytest.mark.slow
def test_a_model_in_this_process_ends_its_critiques_as_its_form_says(tmp_path, tiny_llama):
    tokenizer = build_tokenizer()
    folder = str(tmp_path / "critic@vllm-5")  # no name of a server
    tiny_llama(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    usual = FAMILIES["arithmetic_critic"]

    def load(**changes):
        family = replace(usual, critic=replace(usual.critic, **changes))
        return GenerativeVerifier.from_pretrained(folder, family)

    verifier = load(batch_size=3)
    generator = verifier.writer.generator
    critic = usual.critic
    assert (generator.step_rule, generator.max_new_tokens) == ("line", critic.max_new_tokens)
    assert (generator.temperature, generator.top_p) == (critic.temperature, critic.top_p)
    assert generator.encode(PROMPT) == tokenizer(usual.codec.prompt.render(PROMPT))["input_ids"]
    assert (verifier.aggregation, verifier.num_parameters) == (usual.aggregation, generator.num_parameters)
    assert verifier.model is generator.model
    assert verifier.writer.words == critic.form.word_ids(tokenizer)
    by_votes = load(logprobs=False, votes=3, temperature=1.0, form=replace(critic.form, per_step=False))
    assert (by_votes.writer.generator.step_rule, by_votes.writer.words) == ("whole", None)
