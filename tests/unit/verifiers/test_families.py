"""Published verifiers, each a tiny random checkpoint in its published layout: our scores against those of the code that came
with the family, written out here on stock models; and what is refused."""

import json
import math
import re
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    MistralConfig,
    MistralForCausalLM,
)

from prm.verifiers import find_verifier, kind_of, load_verifier
from prm.verifiers.families import FAMILIES, split_name

PROMPT = "Start with 47, add 38, subtract 12."
STEPS = ("47 + 38 = 85.", "Step 2: 85 - 12 = 63", "The answer is 63.")
TRACES = [STEPS, STEPS[:1], (STEPS[0], "85 - 12 = 73")]
SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
TOKENS = ["ки", "<extra_0>", "[PRM]", " \n\n\n\n\n", " +", " -"]


@pytest.fixture(scope="module")
def tokenizers(plain_tokenizer, merging_tokenizer, trimming_tokenizer, tmp_path_factory):
    """Copies that know the markers of all families as tokens."""
    copies = {}
    for name, tokenizer in (("plain", plain_tokenizer), ("merging", merging_tokenizer), ("bos", trimming_tokenizer)):
        folder = tmp_path_factory.mktemp(name)
        tokenizer.save_pretrained(folder)
        copies[name] = AutoTokenizer.from_pretrained(folder)
        copies[name].add_tokens(TOKENS)
    return copies


@pytest.fixture(scope="module")
def make(tokenizers, tiny_llama, tiny_qwen2, tmp_path_factory):
    """`make(family)`: the folder of a checkpoint, and its scores by hand, a function of prompt and steps."""

    def new(model, tokenizer, **head):
        folder = tmp_path_factory.mktemp("checkpoint")
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        if head:
            file = folder / "model.safetensors"
            save_file(load_file(file) | head, file, {"format": "pt"})
        return folder

    def trl():
        tokenizer = tokenizers["plain"]
        tokenizer = AutoTokenizer.from_pretrained(new(tiny_llama(len(tokenizer)), tokenizer))
        tokenizer.add_special_tokens({"bos_token": "<bos>"})  # one that it never puts anywhere itself
        folder = new(tiny_llama(len(tokenizer)), tokenizer)
        model = AutoModelForTokenClassification.from_pretrained(folder, num_labels=2)
        nn.init.normal_(model.score.bias)
        model.save_pretrained(folder)

        def hand(prompt, steps):
            ids = [tokenizer.bos_token_id, *tokenizer(prompt)["input_ids"]]
            ends = []
            for step in steps:
                ids += tokenizer(step)["input_ids"] + tokenizer("\n")["input_ids"]
                ends.append(len(ids) - 1)
            return model.eval()(torch.tensor([ids])).logits[0].softmax(-1)[ends, 1].tolist()

        return folder, hand

    def at_tag(model, tokenizer, text, tag, good, bad):
        ids = torch.tensor([tokenizer.encode(text)])
        logits = model.eval()(ids).logits[:, :, [good, bad]]
        return logits.softmax(-1)[:, :, 0][ids == tag].tolist()

    def math_shepherd():
        tokenizer = tokenizers["bos"]
        sizes = tiny_llama(len(tokenizer)).config.to_dict()
        keys = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
        model = MistralForCausalLM(
            MistralConfig(
                vocab_size=len(tokenizer), **{k: sizes[k] for k in keys}, initializer_range=0.2, sliding_window=4096
            )
        )
        good, bad = (tokenizer.encode(text)[-1] for text in "+-")

        def hand(prompt, steps):
            numbered = [s if s.startswith(f"Step {i}:") else f"Step {i}: {s}" for i, s in enumerate(steps, 1)]
            text = f"{prompt} " + "\n".join(f"{step} ки" for step in numbered)
            return at_tag(model, tokenizer, text, tokenizer.encode("ки")[-1], good, bad)

        return new(model, tokenizer), hand

    def openr():
        tokenizer = tokenizers["plain"]
        base = new(tiny_llama(len(tokenizer), seed=1), tokenizer)
        lora = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=["q_proj", "o_proj"])
        adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora)
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                nn.init.normal_(parameter, std=0.3)
        folder = tmp_path_factory.mktemp("adapter")
        adapted.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
        good, bad = tokenizer.encode(" + -")

        def hand(prompt, steps):
            text = f"{prompt} " + "".join(f"{step} \n\n\n\n\n" for step in steps)
            return at_tag(model, tokenizer, text, tokenizer.encode(" \n\n\n\n\n")[-1], good, bad)

        return folder, hand

    def rlhflow(whole=False):
        tokenizer = tokenizers["bos"]
        model = tiny_llama(len(tokenizer), seed=2)
        good, bad = (tokenizer.encode(text)[-1] for text in "+-")

        def score(chat):
            ids = tokenizer.apply_chat_template(chat, return_dict=False, return_tensors="pt")
            return model(ids).logits[0, -3, [good, bad]].softmax(-1)[0].item()

        def hand(prompt, steps):
            if whole:
                chat = [("user", f"{prompt} " + "\n".join(steps)), ("assistant", "+")]
                return [score([{"role": role, "content": text} for role, text in chat])] * len(steps)
            chat, scores = [], []
            for i, step in enumerate(steps):
                chat.append({"role": "user", "content": step if i else f"{prompt} {step}"})
                chat.append({"role": "assistant", "content": "+"})
                scores.append(score(chat))
            return scores

        return new(model, tokenizer), hand

    def qwen(outputs):
        tokenizer = tokenizers["merging"]
        lm = tiny_qwen2(len(tokenizer))
        size = lm.config.hidden_size
        score = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, outputs))
        nn.init.normal_(score[2].weight)
        folder = new(lm, tokenizer, **{f"score.{name}": tensor.detach() for name, tensor in score.named_parameters()})
        config = json.loads((folder / "config.json").read_text())
        kind = "Qwen2ForProcessRewardModel" if outputs == 2 else "Qwen2ForRewardModel"
        config |= {"architectures": [kind], "auto_map": {"AutoModel": f"modeling_qwen2_rm.{kind}"}}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "modeling_qwen2_rm.py").write_text("raise SystemExit('code of a checkpoint was run')")
        tokenizer = AutoTokenizer.from_pretrained(folder)

        def hand(prompt, steps):
            answer = "".join(f"{s}<extra_0>" for s in steps) if outputs == 2 else "\n\n".join(steps)
            chat = zip(("system", "user", "assistant"), (SYSTEM, prompt, answer), strict=True)
            chat = [{"role": role, "content": text} for role, text in chat]
            text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=False)
            ids = torch.tensor(tokenizer.encode(text, add_special_tokens=False))
            logits = score(lm.model(ids[None]).last_hidden_state[0])
            if outputs == 1:
                return [logits[-1, 0].sigmoid().item()] * len(steps)
            return logits.softmax(-1)[ids == tokenizer.encode("<extra_0>")[0], 1].tolist()

        return folder, hand

    def value(family):
        tokenizer = tokenizers["bos" if family == "skywork_prm" else "plain"]
        lm = (tiny_qwen2 if family == "skywork_prm" else tiny_llama)(len(tokenizer))
        head = {"v_head.summary.weight": torch.randn(1, 32), "v_head.summary.bias": torch.randn(1)}
        folder = new(lm, tokenizer, **head)
        tokenizer = AutoTokenizer.from_pretrained(folder)

        def hand(prompt, steps):
            if family == "skywork_prm":
                ids = tokenizer.encode(f"{tokenizer.bos_token}{prompt}\n", add_special_tokens=False)
                ends = []
                for step in steps:
                    ids += [*tokenizer.encode(step, add_special_tokens=False), tokenizer.encode("\n")[-1]]
                    ends.append(len(ids) - 1)
            else:
                numbered = [s if s.startswith(f"Step {i}:") else f"Step {i}: {s}" for i, s in enumerate(steps, 1)]
                text = f"[INST] {prompt} [/INST]\n" + " [PRM]\n".join(numbered) + " [PRM]"
                ids = tokenizer.encode(text, add_special_tokens=False)
                ends = [i for i, token in enumerate(ids) if token == tokenizer.encode("[PRM]")[-1]]
            hidden = lm.model(torch.tensor([ids])).last_hidden_state[0, ends]
            return (hidden @ head["v_head.summary.weight"][0] + head["v_head.summary.bias"]).sigmoid().tolist()

        return folder, hand

    def classifier(family):
        # As TRL's RewardTrainer leaves it on most tokenizers: pad is EOS, so that the token before the EOS is read.
        tokenizer = tokenizers["bos"]
        lm = tiny_llama(len(tokenizer), seed=4)
        lm.config.pad_token_id = tokenizer.eos_token_id
        folder = new(lm, tokenizer)
        model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
        nn.init.normal_(model.score.weight)
        model.save_pretrained(folder)

        def hand(prompt, steps):
            if family == "text_classifier":
                ids = tokenizer(f"{prompt}\n" + "\n".join(steps) + tokenizer.eos_token)["input_ids"]
            else:
                chat = [{"role": "user", "content": prompt}, {"role": "assistant", "content": "\n\n".join(steps)}]
                ids = tokenizer.apply_chat_template(chat, return_dict=False)
            return [model.eval()(torch.tensor([ids])).logits[0, 0].sigmoid().item()] * len(steps)

        return folder, hand

    makers = {
        "trl": trl,
        "math_shepherd": math_shepherd,
        "openr": openr,
        "rlhflow": rlhflow,
        "rlhflow_orm": lambda: rlhflow(whole=True),
        "qwen_prm": lambda: qwen(2),
        "qwen_rm": lambda: qwen(1),
        "skywork_prm": lambda: value("skywork_prm"),
        "pqm": lambda: value("pqm"),
        "sequence_classifier": lambda: classifier("sequence_classifier"),
        "text_classifier": lambda: classifier("text_classifier"),
    }
    made = {}

    def once(family):
        if family not in made:
            torch.manual_seed(1)
            made[family] = makers[family]()
        return made[family]

    once.families = list(makers)
    return once


WITH_HEADS = [name for name, family in FAMILIES.items() if family.head not in ("implicit", "generative")]


def test_every_family_has_a_checkpoint_here(make):
    assert sorted(make.families) == sorted(WITH_HEADS)


@pytest.mark.parametrize("family", WITH_HEADS)
def test_scores_are_those_of_the_published_code(family, make):
    folder, hand = make(family)
    verifier = load_verifier(f"{family}:{folder}")
    with torch.inference_mode():
        expected = [hand(PROMPT, steps) for steps in TRACES]
    found = verifier.score_batch([PROMPT] * 3, TRACES)
    for its, right, steps in zip(found, expected, TRACES, strict=True):
        assert len(right) == len(steps)
        assert its.steps == pytest.approx(right, abs=1e-5)
    assert len({round(score, 3) for right in expected for score in right}) > 1  # else any reading would agree
    # In a tree, where the prefix of a trace was kept, and in a row of its own.
    kept = [verifier.score_batch([PROMPT], [steps])[0] for steps in (STEPS[:1], STEPS)]
    assert kept[1].steps == pytest.approx(expected[0], abs=1e-5)
    assert kept[0].ends[0] > 3
    assert (verifier.kind, kind_of(f"{family}:{folder}")) == (FAMILIES[family].kind,) * 2
    assert verifier.name == load_verifier(f"{family}:{folder}").name


@pytest.mark.parametrize("family", [name for name in WITH_HEADS if name != "openr"])
@pytest.mark.parametrize("lost", ["head", "body", "misnamed"])
def test_a_missing_or_misnamed_tensor_is_refused_by_name(family, lost, make, tmp_path):
    folder = shutil.copytree(make(family)[0], tmp_path / "copy")
    file = folder / "model.safetensors"
    weights = load_file(file)
    heads = {"token_classifier": "score.bias", "mlp": "score.2.weight", "value": "v_head.summary.bias"}
    name = heads.get(FAMILIES[family].head, "lm_head.weight" if "lm_head.weight" in weights else "score.weight")
    name = "model.layers.1.mlp.up_proj.weight" if lost == "body" else name
    tensor = weights.pop(name)
    if lost == "misnamed":
        weights[name.replace("weight", "weights").replace("bias", "biases")] = tensor
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ValueError, match=rf"lacks {name.replace('.', '[.]')}"):
        load_verifier(f"{family}:{folder}")


def test_tensors_that_nothing_reads_are_refused(make, tmp_path):
    folder = shutil.copytree(make("qwen_prm")[0], tmp_path / "copy")
    file = folder / "model.safetensors"
    save_file(load_file(file) | {"score.4.weight": torch.ones(2, 2)}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"holds .*score\.4\.weight"):
        load_verifier(f"qwen_prm:{folder}")
    # A head of another family.
    with pytest.raises(ValueError, match=r"lacks score\.bias, score\.weight, which a token_classifier head has"):
        load_verifier(f"trl:{make('qwen_prm')[0]}")
    wider = {"score.2.weight": torch.ones(3, 32)}
    save_file(load_file(make("qwen_prm")[0] / "model.safetensors") | wider, file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"has score\.2\.weight of another shape"):
        load_verifier(f"qwen_prm:{folder}")
    # A classifier of three classes is no reward model.
    folder = shutil.copytree(make("text_classifier")[0], tmp_path / "three")
    file = folder / "model.safetensors"
    save_file(load_file(file) | {"score.weight": torch.ones(3, 32)}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"its head has weights of shape \(3, 32\) and 3 biases"):
        load_verifier(f"text_classifier:{folder}")
    # Nor is one of a model with other inputs.
    folder = shutil.copytree(make("pqm")[0], tmp_path / "narrow")
    file = folder / "model.safetensors"
    save_file(load_file(file) | {"v_head.summary.weight": torch.ones(1, 16)}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"its head has weights of shape \(2, 16\) and 2 biases"):
        load_verifier(f"pqm:{folder}")


@pytest.mark.parametrize("part", ["weight", "bias"])
def test_a_head_that_is_no_number_is_refused(part, make, tmp_path):
    folder = shutil.copytree(make("pqm")[0], tmp_path / "copy")
    file = folder / "model.safetensors"
    weights = load_file(file)
    weights[f"v_head.summary.{part}"] *= math.nan
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ValueError, match="the weights of its head are not all finite numbers"):
        load_verifier(f"pqm:{folder}")


def test_tokens_that_cannot_be_compared_are_refused(make, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("like: math_shepherd\ngood: good\nbad: bad\n")
    with pytest.raises(ValueError, match="no single token for 'bad'"):
        load_verifier(f"{file}:{make('math_shepherd')[0]}")
    # A tokenizer with more tokens than the weights.
    folder = shutil.copytree(make("math_shepherd")[0], tmp_path / "more")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["good", "bad"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(
        ValueError, match=r"'bad' and 'good' are the tokens \[\d+, \d+\] .*, lm_head.weight has \d+ rows"
    ):
        load_verifier(f"{file}:{folder}")


def test_an_adapter_that_is_incomplete_is_refused(make, tmp_path):
    folder = shutil.copytree(make("openr")[0], tmp_path / "copy")
    file = folder / "adapter_model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if "lora_B" in name)
    del weights[name]
    save_file(weights, file)
    with pytest.raises(ValueError, match=f"lacks {name}; the adapter is incomplete"):
        load_verifier(f"openr:{folder}")


def test_labels_of_another_meaning_are_refused(make, tmp_path):
    folder = shutil.copytree(make("trl")[0], tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"id2label": {"0": "good", "1": "bad"}}))
    with pytest.raises(ValueError, match="in this family label 1 means good"):
        load_verifier(f"trl:{folder}")


def test_a_problem_that_contains_the_marker_moves_no_score(make):
    folder, _ = make("qwen_prm")
    verifier = load_verifier(f"qwen_prm:{folder}")
    encoded = verifier.config.codec.encode(verifier.tokenizer, "What is <extra_0>?", STEPS)
    marker = verifier.tokenizer.encode("<extra_0>")[0]
    assert [encoded.input_ids[end] for end in encoded.step_ends] == [marker] * 3
    assert encoded.input_ids.count(marker) == 4
    assert len(encoded.input_ids) == encoded.step_ends[-1] + 1


def test_a_tokenizer_that_merges_the_marker_with_the_next_step_is_refused(tokenizers, make):
    codec = FAMILIES["math_shepherd"].codec
    tokenizer = tokenizers["plain"].__class__.from_pretrained(make("pqm")[0])
    tokenizer.add_tokens(["ки\n"])
    with pytest.raises(ValueError, match="makes one token of 'ки', after which a score is read"):
        codec.encode(tokenizer, PROMPT, STEPS)


def test_a_family_of_ones_own(make, tmp_path):
    """ER-PRM: Math-Shepherd's text without numbers."""
    folder, _ = make("math_shepherd")
    file = tmp_path / "er_prm.yaml"
    file.write_text('like: math_shepherd\ngood: " +"\nbad: " -"\naggregation: mean\ncodec: {numbered: false}\n')
    verifier = load_verifier(f"{file}:{folder}")
    tokenizer, model = verifier.tokenizer, AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.tensor([tokenizer.encode(f"{PROMPT} " + "\n".join(f"{step} ки" for step in STEPS))])
    with torch.inference_mode():
        logits = model(ids).logits[:, :, [tokenizer.encode(" +")[-1], tokenizer.encode(" -")[-1]]]
    expected = logits.softmax(-1)[:, :, 0][ids == tokenizer.encode("ки")[-1]].tolist()
    assert verifier.score(PROMPT, STEPS) == pytest.approx(expected, abs=1e-5)
    assert verifier.score_trace(PROMPT, STEPS) == pytest.approx(sum(expected) / 3, abs=1e-5)


def test_a_checkpoint_of_openrlhf_is_read_as_its_page_says(make, tmp_path, root):
    """Its dataset tokenized the text without special tokens; its loss took the logits at the placeholder."""
    folder, _ = make("math_shepherd")
    (family,) = re.findall(r"```yaml\n(.*?)```", (root / "recipes/migrating_from_openrlhf.md").read_text(), re.DOTALL)
    (tmp_path / "openrlhf.yaml").write_text(family)
    verifier = load_verifier(f"{tmp_path}/openrlhf.yaml:{folder}")
    tokenizer, model = verifier.tokenizer, AutoModelForCausalLM.from_pretrained(folder).eval()
    text = f"{PROMPT} Step 1: {STEPS[0]} ки\n{STEPS[1]} ки\nStep 3: {STEPS[2]} ки"
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
    assert ids[0, 0] != tokenizer.bos_token_id
    with torch.inference_mode():
        logits = model(ids).logits[:, :, [tokenizer.encode(sign)[-1] for sign in "+-"]]
    expected = logits.softmax(-1)[:, :, 0][ids == tokenizer.encode("ки")[-1]].tolist()
    assert verifier.score(PROMPT, STEPS) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("good: '+'", "like is None; it must name the family to start from: trl, math_shepherd"),
        ("like: openr\ngod: 1", "god is no key of it"),
        ("like: openr\ncodec: {form: song}", "codec.form 'song' is not one of pieces, text"),
        ("like: openr\ncodec: song", "codec 'song' is not"),
        ("like: openr\nbeta: {of: 1}", r"beta \{'of': 1\} is not a number"),
        ("like: openr\nbeta: lots", "beta 'lots' is not a number"),
        ("like: openr\nkind: orm", "kind orm with semantics value"),
    ],
)
def test_a_family_file_that_says_something_wrong(text, message, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_verifier(f"{file}:somewhere")


def test_a_path_may_hold_colons():
    assert split_name("qwen_prm:there:here") == (FAMILIES["qwen_prm"], "there:here")
    assert split_name("there") is None


def test_names_that_are_no_family(make):
    with pytest.raises(FileNotFoundError, match=r"of one that others published, give its family, as in qwen_prm:"):
        load_verifier(str(make("trl")[0]))
    with pytest.raises(ValueError, match="family 'mathshepherd' is not one of trl, math_shepherd"):
        load_verifier("mathshepherd:folder")
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        load_verifier("none.yaml:folder")


@pytest.fixture(scope="module")
def pair(tokenizers, tiny_llama, tmp_path_factory):
    """Policy and reference of an implicit PRM."""
    folders = [tmp_path_factory.mktemp(name) for name in ("policy", "reference")]
    for seed, folder in enumerate(folders, 5):
        tiny_llama(len(tokenizers["plain"]), seed=seed).save_pretrained(folder)
        tokenizers["plain"].save_pretrained(folder)
    return folders


def test_an_implicit_prm_is_the_ratio_of_two_models(pair, tmp_path):
    policy, reference = pair
    file = tmp_path / "mine.yaml"
    file.write_text(f"like: implicit\nreference: {reference}\nbeta: 0.1\n")
    verifier = find_verifier(f"{file}:{policy}")
    tokenizer = AutoTokenizer.from_pretrained(policy)

    @torch.inference_mode()
    def hand(steps):
        before = tokenizer.apply_chat_template(
            [{"role": "user", "content": PROMPT}], tokenize=False, add_generation_prompt=True
        )
        start = len(tokenizer.encode(before))
        ids = tokenizer.encode(before + "\n\n".join(steps))
        ratio = 0
        for folder, sign in ((policy, 1), (reference, -1)):
            logits = AutoModelForCausalLM.from_pretrained(folder).eval()(torch.tensor([ids])).logits[0]
            ratio += sign * logits.log_softmax(-1)[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        ends = [len(tokenizer.encode(before + "\n\n".join(steps[:k]))) for k in range(1, len(steps) + 1)]
        return [(0.1 * ratio[start - 1 : end - 1].sum()).sigmoid().item() for end in ends]

    assert load_verifier(f"{file}:{policy}", device="meta").policy.device.type == "meta"
    found = verifier.score_batch([PROMPT] * 3, TRACES)
    assert [list(its.steps) for its in found] == [pytest.approx(hand(steps), abs=1e-5) for steps in TRACES]
    encoded_N = [verifier.codec.encode(tokenizer, PROMPT, steps).input_ids for steps in TRACES]
    assert [its.read + its.cached for its in found] == [len(ids) for ids in encoded_N]
    assert sum(its.read for its in found) == len({ids[:n] for ids in encoded_N for n in range(1, len(ids) + 1)})
    longest, codec = max(map(len, encoded_N)), verifier.codec
    for room, whole in ((longest, True), (longest - 1, False)):
        verifier.codec = codec.at_most(room)
        assert all(verifier.score_batch([PROMPT] * 3, TRACES)) == whole
    verifier.codec = codec
    assert found[0].trace == found[0].steps[-1]
    assert max(found[0].steps) - min(found[0].steps) > 0.01
    assert verifier.score(PROMPT, STEPS) == pytest.approx(found[0].steps, abs=1e-6)
    assert verifier.num_parameters == 2 * AutoModelForCausalLM.from_pretrained(policy).num_parameters()
    given = load_verifier(f"implicit:{policy}", base_model=str(reference))
    assert (given.beta, given.kind) == (0.05, "prm")
    assert given.score_trace(PROMPT, STEPS) == given.score(PROMPT, STEPS)[-1]
    assert given.score_batch([PROMPT], [("1",) * 400]) == [None]
    with pytest.raises(ValueError, match="a trace of 400 steps is longer than the 512 tokens that are read"):
        given.score(PROMPT, ("1",) * 400)


def test_an_implicit_prm_needs_its_reference(pair, tmp_path, trimming_tokenizer):
    with pytest.raises(ValueError, match="give the one that training started from as base_model="):
        load_verifier(f"implicit:{pair[0]}")
    other = shutil.copytree(pair[1], tmp_path / "other")
    trimming_tokenizer.save_pretrained(other)
    with pytest.raises(ValueError, match="have different tokenizers"):
        load_verifier(f"implicit:{pair[0]}", base_model=str(other))
