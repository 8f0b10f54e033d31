"""Training does what it says: the loss, the order, the counts, and the same weights however it was carried out."""

import json
import math
import random
from pathlib import Path

import pytest
import torch

import templates
import tiny
from mixdistill.backends.transformers import generation_config, own_stop_ids
from mixdistill.errors import Refused, StageError
from mixdistill.sections import Train
from mixdistill.tokens import Template
from mixdistill.training.finetune import fine_tune
from mixdistill.types import Example

SETTINGS = Train(learning_rate=3e-3, warmup_ratio=0.2, weight_decay=0.01, adam_beta2=0.98, save_steps=3)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return tiny.student(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    """Rows of 8 to 60 tokens, some without reasoning."""
    rng = random.Random(0)
    texts = [" ".join(rng.choices(tiny.WORDS[2:], k=rng.randint(3, 50))) for _ in range(20)]
    return [tiny.example("Q 8 4 7 T 5 :", "" if i % 5 == 0 else t, f"A + {'-' * (i % 2)}") for i, t in enumerate(texts)]


UPDATES = [[(3 * u + i) % 20 for i in range(4 + u % 2)] for u in range(10)]


def _train(model: str, examples: list[Example], out: Path, settings: Train = SETTINGS, **options) -> dict:
    return fine_tune(model, examples, UPDATES, settings, **{"seed": 0, "out": out, **options})


def _weights(out: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(out / "model" / "model.safetensors")


def _bytes(out: Path) -> bytes:
    return (out / "model" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def trained(model, examples, tmp_path_factory) -> tuple[Path, dict]:
    """An uninterrupted training: (folder, facts)."""
    out = tmp_path_factory.mktemp("trained") / "unit"
    return out, _train(model, examples, out)


def _losses(facts: dict) -> list[float]:
    return [loss for _, loss in facts["losses"]]


def _furthest(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[k] - b[k]).abs().max()) for k in a)


def test_weights_are_the_same_whatever_the_micro_batches_are(model, examples, trained, tmp_path):
    for limit in (1, 100):
        facts = _train(
            model, examples, tmp_path / str(limit), SETTINGS.model_copy(update={"micro_batch_tokens": limit})
        )
        assert facts["loss_tokens"] == trained[1]["loss_tokens"]
        assert _losses(facts) == pytest.approx(_losses(trained[1]), abs=2e-5)
        assert _furthest(_weights(tmp_path / str(limit)), _weights(trained[0])) < 1e-5


def test_training_is_the_plain_loop(model, examples, trained):
    """AdamW over whole updates, mean loss over an update's completion tokens, warm-up and cosine, clipping."""
    from transformers import AutoModelForCausalLM

    student, template = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).train(), Template.load(model)
    rows = [template.render(e.prompt, e.reasoning, e.content) for e in examples]
    decay = [p for p in student.parameters() if p.dim() > 1]
    rest = [p for p in student.parameters() if p.dim() == 1]
    groups = [{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.98), eps=1e-8)
    warmup, losses = int(0.2 * len(UPDATES)), []
    for step, update in enumerate(UPDATES):
        after = (step - warmup) / (len(UPDATES) - warmup)
        rate = 3e-3 * (step / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * after)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        total, tokens = torch.zeros(()), 0
        for prompt, completion in (rows[i] for i in update):
            logits = student(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
            total = total + torch.nn.functional.cross_entropy(logits, torch.tensor(completion), reduction="sum")
            tokens += len(completion)
        (total / tokens).backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append((total / tokens).item())
    out, facts = trained
    assert _losses(facts) == pytest.approx(losses, abs=1e-4)
    assert _furthest({k: v for k, v in student.state_dict().items() if k in _weights(out)}, _weights(out)) < 1e-5


def test_facts_are_what_happened(model, examples, trained):
    _, facts = trained
    template = Template.load(model)
    rows = [examples[i] for update in UPDATES for i in update]
    assert facts["updates"] == len(UPDATES)
    assert facts["examples"] == len(rows)
    assert facts["loss_tokens"] == sum(template.count(e.reasoning, e.content) for e in rows)
    assert facts["positions"] >= facts["loss_tokens"]
    assert facts["longest_row"] == max(template.count(e.reasoning, e.content) for e in rows)
    assert facts["peak_learning_rate"] == pytest.approx(3e-3)
    assert [step for step, _ in facts["losses"]] == list(range(1, len(UPDATES) + 1))
    assert facts["learning_rate_integral"] == pytest.approx(0.5 * 3e-3 + sum(_after_warmup()))
    assert (facts["warmup_updates"], facts["truncated"], facts["distinct_problems"]) == (2, 0, 1)
    assert facts["epochs"] == pytest.approx(len(rows) / len(examples))
    assert facts["teacher_tokens"] == {"teacher": facts["loss_tokens"]}


def _after_warmup() -> list[float]:
    return [3e-3 * 0.5 * (1 + math.cos(math.pi * t / 8)) for t in range(8)]


def test_facts_say_how_it_was_carried_out(model, trained):
    how = {
        "method": "full",
        "loss_type": "nll",
        "packing": False,
        "attn_implementation": "sdpa",
        "gradient_checkpointing": torch.cuda.is_available(),
        "precision": "float32",
        "num_processes": 1,
        "distributed": None,
        "device": "cpu" if not torch.cuda.is_available() else torch.cuda.get_device_name(),
        "template": Template.load(model).fingerprint,
        "seed": 0,
        "max_length": 16384,
        "overlong": "refuse",
    }
    assert trained[1].items() >= how.items()


def test_peak_learning_rate_is_that_of_every_update_and_losses_are_thinned(model, examples, tmp_path):
    """Of 120 updates about 50 mean losses are kept; the peak, reached in a single update, is not missed."""
    updates = [[i % 20] for i in range(120)]
    settings = SETTINGS.model_copy(update={"warmup_ratio": 31 / 120, "lr_scheduler_type": "linear", "save_steps": 500})
    facts = fine_tune(model, examples, updates, settings, seed=0, out=tmp_path)
    assert facts["peak_learning_rate"] == settings.learning_rate
    assert [step for step, _ in facts["losses"]] == list(range(2, 121, 2))


def test_displacement_is_how_far_the_weights_moved(model, trained):
    from safetensors.torch import load_file

    before, after = load_file(Path(model) / "model.safetensors"), _weights(trained[0])
    moved = sum(float((after[k] - before[k]).pow(2).sum()) for k in before)
    size = sum(float(before[k].pow(2).sum()) for k in before)
    assert trained[1]["displacement"] == pytest.approx(math.sqrt(moved / size), abs=1e-5)
    assert trained[1]["displacement"] > 0


@pytest.mark.parametrize("update", [2, 5, 10])
def test_killed_training_goes_on_to_the_same_weights_and_counts(update, model, examples, trained, tmp_path):
    with pytest.raises(tiny.Killed):
        _train(model, examples, tmp_path, progress=tiny.kill_at(update))
    left = {p.name for p in tmp_path.glob("checkpoint-*")}
    assert left == ({f"checkpoint-{(update - 1) // 3 * 3}"} if update > 3 else set())
    facts = _train(model, examples, tmp_path)
    assert _bytes(tmp_path) == _bytes(trained[0])
    assert facts | {"seconds_training": 0} == trained[1] | {"seconds_training": 0}
    assert not list(tmp_path.glob("checkpoint-*"))


def test_checkpoint_that_was_cut_off_is_not_used(model, examples, trained, tmp_path):
    with pytest.raises(tiny.Killed):
        _train(model, examples, tmp_path, progress=tiny.kill_at(5))
    torn = tmp_path / "checkpoint-6"
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"half of a mod")
    _train(model, examples, tmp_path)
    assert _bytes(tmp_path) == _bytes(trained[0])
    assert not list(tmp_path.glob("checkpoint-*"))


def test_only_the_model_is_left_and_nothing_outside_the_folder(model, examples, tmp_path, monkeypatch):
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    before = {p: p.stat().st_mtime_ns for p in Path(model).rglob("*")}
    _train(model, examples, tmp_path / "unit")
    assert {p.name for p in tmp_path.iterdir()} == {"cwd", "unit"}
    assert not list((tmp_path / "cwd").iterdir())
    assert {p: p.stat().st_mtime_ns for p in Path(model).rglob("*")} == before
    assert [p.name for p in (tmp_path / "unit").iterdir()] == ["model"]
    kinds = {p.suffix for p in (tmp_path / "unit" / "model").iterdir()}
    assert kinds == {".safetensors", ".json", ".jinja"}


def test_saved_model_loads_with_its_tokenizer(model, trained):
    from transformers import AutoModelForCausalLM

    saved = str(trained[0] / "model")
    loaded = AutoModelForCausalLM.from_pretrained(saved)
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in _weights(trained[0]).items())
    assert loaded.config.use_cache
    assert Template.load(saved).fingerprint == Template.load(model).fingerprint


def test_generation_settings_stay_those_of_the_untuned_student_and_stop_where_the_template_ends_a_turn(
    examples, tmp_path
):
    """The trainer adds the tokenizer's special tokens to them; then arms and base would stop at different tokens."""
    model = tiny.student(tmp_path / "model")
    file = tmp_path / "model" / "generation_config.json"
    own = json.loads(file.read_text()) | {"eos_token_id": [7], "pad_token_id": 9}
    file.write_text(json.dumps(own))
    _train(model, examples, tmp_path / "unit")
    saved = json.loads((tmp_path / "unit" / "model" / "generation_config.json").read_text())
    assert saved == own | {"eos_token_id": [7, *Template.load(model).stop_ids]}


def test_training_without_generation_settings_does_not_invent_other_ones(examples, tmp_path):
    model = tiny.student(tmp_path / "model", generation_config=False)
    _train(model, examples, tmp_path / "unit")
    keep = ("do_sample", "temperature", "top_p", "top_k", "max_new_tokens", "eos_token_id")
    base, own = generation_config(model), generation_config(str(tmp_path / "unit" / "model"))
    assert [getattr(base, k) for k in keep] == [getattr(own, k) for k in keep]


def test_untuned_weights_decide_and_the_seed_only_orders(model, examples, trained, tmp_path):
    """Nothing in this training is drawn at random but what `mix` drew: no dropout, no shuffling behind our back."""
    _train(model, examples, tmp_path / "seed", seed=9)
    assert _bytes(tmp_path / "seed") == _bytes(trained[0])
    other = tiny.student(tmp_path / "other", seed=1)
    _train(other, examples, tmp_path / "base")
    assert _bytes(tmp_path / "base") != _bytes(trained[0])


def test_training_that_diverges_stops_at_that_update_and_leaves_no_model(model, examples, tmp_path):
    settings = SETTINGS.model_copy(update={"learning_rate": 1e38, "warmup_ratio": 0.0, "save_steps": 500})
    with pytest.raises(StageError, match=r"the loss of update \d+ is (nan|inf); .* lower train\.learning_rate"):
        _train(model, examples, tmp_path, settings)
    assert not (tmp_path / "model").exists()


def test_training_that_diverges_in_its_last_update_leaves_no_model(model, examples, tmp_path, monkeypatch):
    monkeypatch.setattr("mixdistill.training.finetune._displacement", lambda *_: math.nan)
    with pytest.raises(StageError, match="no longer finite"):
        _train(model, examples, tmp_path)
    assert not (tmp_path / "model").exists()


def test_row_that_is_too_long_is_refused_never_cut(model, examples, tmp_path):
    with pytest.raises(StageError, match=r"example \d+ has \d+ tokens, max_length=30"):
        _train(model, examples, tmp_path, SETTINGS.model_copy(update={"max_length": 30}))
    assert not list(tmp_path.iterdir())


def test_updates_take_the_rows_they_were_given(model, examples, tmp_path):
    """Another order of the same rows is another training."""
    facts = fine_tune(model, examples, UPDATES[::-1], SETTINGS, seed=0, out=tmp_path / "back")
    forth = fine_tune(model, examples, UPDATES, SETTINGS, seed=0, out=tmp_path / "forth")
    assert facts["loss_tokens"] == forth["loss_tokens"]
    assert _bytes(tmp_path / "back") != _bytes(tmp_path / "forth")


def test_cell_is_trained_again_for_what_changes_weights_alone(model, tmp_path):
    one = {"seeds": 1, "arms": {"short": {"short": 1}}, "contrasts": {}}
    stages = ("generate", "verify", "analyze", "mix", "train")
    tiny.run(tiny.study(model, **one), tmp_path, *stages)
    same = {
        "micro_batch_tokens": 64,
        "save_steps": 1,
        "max_length": 400,
        "lora": {"r": 2},
        "attn_implementation": "eager",
    }
    _, ran = tiny.run(tiny.study(model, **one, train=same), tmp_path, *stages)
    assert not [label for label in ran if label.startswith("train/")]
    with pytest.raises(Refused, match=r"train\.learning_rate was 0\.01, is now 0\.02"):
        tiny.run(tiny.study(model, **one, train={"learning_rate": 2e-2}), tmp_path, *stages)


def test_bfloat16_computes_in_it_and_keeps_the_weights_whole(model, examples, tmp_path):
    facts = _train(model, examples, tmp_path, SETTINGS.model_copy(update={"bf16": True, "learning_rate": 1e-5}))
    assert facts["precision"] == "bfloat16"
    assert {t.dtype for t in _weights(tmp_path).values()} == {torch.float32}
    assert facts["displacement"] > 0  # in bfloat16 weights, steps of 1e-5 would round to nothing


def test_byte_level_student_trains_on_real_text(tmp_path):
    model = tiny.byte_student(tmp_path / "model")
    rows = [tiny.example("How many?", "Let me count:\n2² = 4 — “four”.", "The answer is \\boxed{4}.")]
    facts = fine_tune(model, rows, [[0]] * 3, SETTINGS, seed=0, out=tmp_path / "unit")
    assert facts["loss_tokens"] == 3 * Template.load(model).count(rows[0].reasoning, rows[0].content)
    assert facts["final_loss"] < facts["first_loss"]


@pytest.mark.parametrize(
    "kind",
    [
        "no pad",
        "pad is eos",
        "eos is not what ends a turn",
        "prompt opens thinking",
        "qwen3, thinking off",
        "bos twice",
    ],
)
def test_what_is_odd_about_a_tokenizer_is_handled_in_training(kind, tmp_path):
    tokenizer, kwargs = templates.KINDS[kind]()
    model = tiny.save_student(tmp_path / "student", tokenizer)
    template = Template.load(model, chat_template_kwargs=kwargs)
    rows = [tiny.example(templates.PROMPT, r, templates.CONTENT) for r in (templates.REASONING, "", "4")]
    out = tmp_path / "out"
    seen = fine_tune(model, rows, [[0, 1], [2, 0]], SETTINGS, seed=0, out=out, chat_template_kwargs=kwargs)
    student = Template.load(str(out / "model"), chat_template_kwargs=kwargs)
    assert seen["template"] == template.fingerprint == student.fingerprint
    assert student.tokenizer.pad_token == template.tokenizer.pad_token
    assert template.stop_ids <= set(own_stop_ids(generation_config(str(out / "model"))))
    assert seen["loss_tokens"] == sum(template.count(rows[i].reasoning, rows[i].content) for i in (0, 1, 2, 0))
    assert math.isfinite(seen["final_loss"])


def test_a_training_set_with_a_fault_is_refused_before_its_first_update(model, examples, tmp_path):
    bad = [*examples[:-1], tiny.example("Q 8 4 7 T 5 :", "8 snowman", "A +")]
    with pytest.raises(StageError) as e:
        _train(model, bad, tmp_path)
    assert str(e.value) == (
        "train: no_unknown: problem p, teacher teacher: 'snowman' is unknown to its tokenizer; take it out, or give "
        "the student another tokenizer (in 1 of 20 rows)"
    )
    assert not list(tmp_path.iterdir())
