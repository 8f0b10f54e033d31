"""Adapters, losses, packed and cut rows: what is trained with them, what comes out, and what is lacking said."""

import json
import math
import random
import statistics
from collections import Counter
from pathlib import Path

import pytest
import torch

import tiny
from mixdistill.backends.transformers import generation_config
from mixdistill.errors import StageError
from mixdistill.sections import Lora, Train
from mixdistill.tokens import Template
from mixdistill.training import methods
from mixdistill.training.batches import Collate, Tokenised, pack, packs, pad
from mixdistill.training.finetune import fine_tune
from mixdistill.training.trainer import only, token_losses

LORA = Train(method="lora", lora=Lora(r=4, lora_dropout=0.1), learning_rate=1e-2, save_steps=2, warmup_ratio=0.2)
UPDATES = [[(3 * u + i) % 8 for i in range(3)] for u in range(5)]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return tiny.student(tmp_path_factory.mktemp("student"))


@pytest.fixture(scope="module")
def examples() -> list:
    rng = random.Random(0)
    return [
        tiny.example("Q 8 4 7 T 5 :", " ".join(rng.choices(tiny.WORDS[2:], k=rng.randint(3, 40))), "A + -")
        for _ in range(8)
    ]


@pytest.fixture(scope="module")
def adapted(model, examples, tmp_path_factory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("adapted") / "unit"
    return out, fine_tune(model, examples, UPDATES, LORA, seed=0, out=out)


def _bytes(out: Path) -> bytes:
    return (out / "model" / "model.safetensors").read_bytes()


class Killed(Exception):
    pass


def _killed_at(update: int):
    def progress(done: int, tokens: int, rate: float) -> None:
        if done == update:
            raise Killed

    return progress


def test_adapters_become_an_ordinary_model_with_the_adapter_in_its_folder(model, adapted):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    out, facts = adapted
    assert (facts["method"], facts["peak_learning_rate"]) == ("lora", 1e-2)
    student = AutoModelForCausalLM.from_pretrained(out / "model")
    assert type(student).__name__ == "LlamaForCausalLM"
    assert sorted(p.name for p in (out / "model" / "adapter").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    untuned = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    again = PeftModel.from_pretrained(untuned, str(out / "model" / "adapter")).eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        assert torch.allclose(student(ids).logits, again(ids).logits, atol=1e-5)
    assert facts["displacement"] > 0


def test_adapters_change_linear_layers_alone(model, adapted):
    from safetensors.torch import load_file

    before, after = load_file(Path(model) / "model.safetensors"), load_file(adapted[0] / "model" / "model.safetensors")
    changed = {k.split(".")[-2] for k in before if not torch.equal(before[k], after[k])}
    assert changed == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_seed_alone_decides_how_adapters_start(model, examples, adapted, tmp_path):
    fine_tune(model, examples, UPDATES, LORA, seed=0, out=tmp_path / "other name")
    assert _bytes(tmp_path / "other name") == _bytes(adapted[0])
    fine_tune(model, examples, UPDATES, LORA, seed=1, out=tmp_path / "seed")
    assert _bytes(tmp_path / "seed") != _bytes(adapted[0])


KINDS = {
    "lora": LORA,
    "dft": Train(loss_type="dft", learning_rate=3e-3, save_steps=2),
    "packed": Train(packing=True, learning_rate=3e-3, save_steps=2, micro_batch_tokens=60),
}


@pytest.mark.parametrize("kind", KINDS)
def test_killed_training_goes_on_to_the_same_bytes_whatever_is_trained(kind, model, examples, tmp_path):
    whole = fine_tune(model, examples, UPDATES, KINDS[kind], seed=0, out=tmp_path / "whole")
    with pytest.raises(Killed):
        fine_tune(model, examples, UPDATES, KINDS[kind], seed=0, out=tmp_path / "cut", progress=_killed_at(4))
    assert [p.name for p in (tmp_path / "cut").iterdir()] == ["checkpoint-2"]
    facts = fine_tune(model, examples, UPDATES, KINDS[kind], seed=0, out=tmp_path / "cut")
    assert _bytes(tmp_path / "cut") == _bytes(tmp_path / "whole")
    assert facts | {"seconds_training": 0} == whole | {"seconds_training": 0}


def test_misspelt_module_is_named_before_anything_is_trained(model, examples, tmp_path):
    settings = LORA.model_copy(update={"lora": Lora(target_modules=["q_proj", "v_porj"])})
    with pytest.raises(StageError) as caught:
        fine_tune(model, examples, UPDATES, settings, seed=0, out=tmp_path)
    assert str(caught.value) == (
        "train.lora.target_modules: no linear layer is called 'v_porj' (got ['q_proj', 'v_porj']); name some of "
        "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
    )
    assert not list(tmp_path.iterdir())
    assert methods.missing_modules(methods.skeleton(model), settings.lora) == str(caught.value)
    assert methods.missing_modules(methods.skeleton(model), Lora(target_modules=["q_proj", "mlp.up_proj"])) is None
    assert methods.missing_modules(methods.skeleton(model), Lora()) is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_four_bits_without_a_gpu_are_one_clear_line(model, examples, tmp_path):
    settings = Train(method="qlora")
    with pytest.raises(StageError, match=r"^train\.method: qlora needs a GPU.*, which this machine has not; set lora$"):
        fine_tune(model, examples, UPDATES, settings, seed=0, out=tmp_path)


def test_four_bits_are_nf4_computed_in_bfloat16():
    config = methods.four_bits()
    assert (config.load_in_4bit, config.bnb_4bit_quant_type) == (True, "nf4")
    assert (config.bnb_4bit_compute_dtype, config.bnb_4bit_use_double_quant) == (torch.bfloat16, True)


def test_weights_of_four_bits_are_made_ready_before_adapters_are_put_on_them(model, monkeypatch):
    """Up to the device: the model that the GPU would hold is an ordinary one here."""
    made = []
    monkeypatch.setattr("peft.prepare_model_for_kbit_training", lambda m, **kwargs: made.append((m, kwargs)))
    bare = methods.load(model, Train())
    wrapped = methods.adapted(bare, Train(method="qlora", gradient_checkpointing=True), seed=0)
    assert made == [(bare, {"use_gradient_checkpointing": True})]
    assert {n.rpartition(".")[0].rpartition(".")[2] for n, p in wrapped.named_parameters() if p.requires_grad} == {
        "default"
    }


@pytest.mark.parametrize(
    ("settings", "weights", "begins"),
    [
        ({"method": "lora", "learning_rate": 2e-5}, None, "train.learning_rate: 2e-05 suits a full training"),
        ({"method": "qlora", "learning_rate": 1e-5}, None, "train.learning_rate: 1e-05 suits a full training"),
        ({"learning_rate": 1e-4}, 10**9, "train.learning_rate: 0.0001 suits adapters, and may ruin a model of 1,0"),
    ],
)
def test_learning_rate_of_the_other_method_is_remarked_upon(settings, weights, begins):
    (line,) = methods.remarks(Train(**settings), weights)
    assert line.startswith(begins)


def test_usual_learning_rates_and_small_models_are_not_remarked_upon():
    for settings, weights in (({}, 10**9), ({"method": "lora"}, 10**9), ({"learning_rate": 1e-2}, 10**7)):
        assert methods.remarks(Train(**settings), weights) == []


def test_attention_that_is_not_here_is_one_line(model, examples, tmp_path):
    settings = Train(attn_implementation="flash_atention_2")
    with pytest.raises(StageError, match=r"^train\.attn_implementation: flash_atention_2 is no attention that"):
        fine_tune(model, examples, UPDATES, settings, seed=0, out=tmp_path)
    if not torch.cuda.is_available():
        assert methods.lacking(Train(attn_implementation="flash_attention_2")) == [
            "train.attn_implementation: flash_attention_2 is not available here (it needs a GPU and the package "
            "flash_attn); leave it out, or set sdpa"
        ]
        assert not methods.packs(Train())
    assert methods.lacking(Train(attn_implementation="eager")) == []


def test_tracker_that_is_unknown_missing_or_hidden_by_a_folder_is_one_line(tmp_path, monkeypatch):
    from transformers.integrations import integration_utils

    monkeypatch.setattr(integration_utils, "get_available_reporting_integrations", lambda: ["trackio"])
    assert methods.lacking(Train(report_to=["wanbd"])) == [
        "train.report_to: 'wanbd' is no tracker that transformers knows; did you mean 'wandb'?"
    ]
    assert methods.lacking(Train(report_to=["wandb"])) == [
        "train.report_to: wandb is not installed; run: pip install wandb, or leave it out"
    ]
    assert methods.lacking(Train(report_to=["trackio"])) == []
    (tmp_path / "trackio").mkdir()
    monkeypatch.chdir(tmp_path)
    assert methods.lacking(Train(report_to=["trackio"])) == [
        "train.report_to: the folder trackio here is taken for the tracker; rename it"
    ]


def test_training_is_reported_to_the_tracker_that_was_asked_for(model, examples, tmp_path, monkeypatch):
    from transformers import TrainerCallback
    from transformers.integrations import integration_utils

    logged = []

    class Tracker(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            logged.append((args.run_name, logs))

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "tensorboard", Tracker)
    monkeypatch.setattr(integration_utils, "get_available_reporting_integrations", lambda: ["tensorboard"])
    out = tmp_path / "s" / "arm" / "0"
    fine_tune(model, examples, UPDATES, Train(report_to=["tensorboard"]), seed=0, out=out)
    assert [name for name, logs in logged if "loss" in logs] == ["s/arm/0"] * 5


def _loss_of(model: str, batches, loss_type: str = "nll") -> tuple[float, torch.Tensor]:
    """(loss, one gradient) of micro-batches that are one update, as the trainer has it."""
    student = methods.load(model, Train()).train()
    total = torch.zeros(())
    for batch in batches:
        kept = torch.nn.functional.pad(batch.labels[:, 1:] != -100, (0, 1))
        with only(student, kept):
            logits = student(**batch.inputs, use_cache=False).logits
        total = total + token_losses(logits, batch.labels[:, 1:][kept[:, :-1]], loss_type).sum()
    loss = total / sum(sum(b.loss_tokens) for b in batches)
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in student.parameters() if p.grad is not None])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_rows_have_the_loss_and_gradients_of_padded_ones(attention, model, examples, monkeypatch):
    load = methods.load
    monkeypatch.setattr(methods, "load", lambda m, _: load(m, Train(attn_implementation=attention)))
    template = Template.load(model)
    rows = [Tokenised(*template.render(e.prompt, e.reasoning, e.content)) for e in examples]
    update = [{"examples": list(range(8))}]
    padded = _loss_of(model, Collate(rows, template.pad_id, 10_000)(update)["micro_batches"])
    (one,) = Collate(rows, template.pad_id, 10_000, packed=True)(update)["micro_batches"]
    packed = _loss_of(model, [one])
    assert packed[0] == pytest.approx(padded[0], abs=1e-6)
    assert float((packed[1] - padded[1]).abs().max()) < 1e-6
    alone = _loss_of(model, [Collate(rows, 0, 1)(update)["micro_batches"][n] for n in range(8)])
    assert alone[0] == pytest.approx(padded[0], abs=1e-6)


def test_packed_rows_say_where_each_begins():
    labels, inputs = pack([Tokenised([1, 2], [3]), Tokenised([4], [5, 6, 7])])
    assert inputs["input_ids"].tolist() == [[1, 2, 3, 4, 5, 6, 7]]
    assert labels.tolist() == [[-100, -100, 3, -100, 5, 6, 7]]
    assert inputs["position_ids"].tolist() == [[0, 1, 2, 0, 1, 2, 3]]
    assert inputs["cu_seq_lens_q"].tolist() == inputs["cu_seq_lens_k"].tolist() == [0, 3, 7]
    assert (inputs["cu_seq_lens_q"].dtype, inputs["max_length_q"], inputs["max_length_k"]) == (torch.int32, 4, 4)


def test_packs_hold_every_row_once_within_the_limit():
    lengths = [5, 9, 3, 7, 1]
    assert packs(range(5), lengths, 12) == [[1, 2], [3, 0], [4]]
    assert packs(range(5), lengths, 4) == [[1], [3], [0], [2, 4]]


def test_packed_training_is_the_padded_one_up_to_rounding(model, examples, tmp_path):
    from safetensors.torch import load_file

    facts = {}
    for name, packing in (("packed", True), ("padded", False)):
        settings = Train(packing=packing, learning_rate=3e-3, micro_batch_tokens=100)
        facts[name] = fine_tune(model, examples, UPDATES, settings, seed=0, out=tmp_path / name)
    assert (facts["packed"]["packing"], facts["padded"]["packing"]) == (True, False)
    assert facts["packed"]["loss_tokens"] == facts["padded"]["loss_tokens"]
    assert facts["packed"]["positions"] == sum(
        Tokenised(*Template.load(model).render(e.prompt, e.reasoning, e.content)).length
        for update in UPDATES
        for e in (examples[i] for i in update)
    )
    a, b = (load_file(tmp_path / name / "model" / "model.safetensors") for name in facts)
    assert max(float((a[k] - b[k]).abs().max()) for k in a) < 1e-4


@pytest.mark.parametrize(
    "settings",
    [
        {"loss_type": "dft"},
        {"packing": True},
        {"overlong": "truncate", "max_length": 20},
        {"method": "lora", "loss_type": "dft", "learning_rate": 1e-2},
        {"method": "lora", "overlong": "truncate", "max_length": 20, "packing": True},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_training_is_the_plain_loop_row_by_row(settings, model, examples, tmp_path):
    """Whatever the method, the loss, and how an update is cut: row by row, without padding, the same student."""
    from safetensors.torch import load_file

    known = Train(**{"learning_rate": 3e-3, "warmup_ratio": 0.2, "micro_batch_tokens": 40, **settings})
    mixed = [e.model_copy(update={"teacher": "abc"[i % 3]}) for i, e in enumerate(examples)]
    updates = [[0, 1, 2], [3], [4, 4, 5, 6, 7], [2, 0], [7]]
    facts = fine_tune(model, mixed, updates, known, seed=3, out=tmp_path)
    student, losses, tokens = _plain_loop(model, mixed, updates, known)
    assert [loss for _, loss in facts["losses"]] == pytest.approx(losses, abs=2e-5)
    saved = load_file(tmp_path / "model" / "model.safetensors")
    assert max(float((p - saved[n]).abs().max()) for n, p in student.named_parameters() if n in saved) < 1e-5
    shares = {t: [of[t] / sum(of.values()) for of in tokens] for t in "abc"}
    assert facts["teacher_tokens"] == {t: sum(of[t] for of in tokens) for t in "abc"}
    assert facts["teacher_share_mean"] == pytest.approx({t: statistics.mean(v) for t, v in shares.items()}, abs=1e-6)
    assert facts["teacher_share_sd"] == pytest.approx({t: statistics.pstdev(v) for t, v in shares.items()}, abs=1e-6)


def _plain_loop(model, examples, updates, settings) -> tuple:
    """(student, loss of every update, teacher -> loss tokens of every update)."""
    template, student = Template.load(model), methods.load(model, settings)
    if settings.method != "full":
        student = methods.adapted(student, settings, seed=3)
    trained = [p for p in student.train().parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, betas=(0.9, 0.999), eps=1e-8, weight_decay=0)
    losses, tokens = [], []
    for step, update in enumerate(updates):
        rate = settings.learning_rate * (step if step < 1 else 0.5 * (1 + math.cos(math.pi * (step - 1) / 4)))
        optimizer.param_groups[0]["lr"] = rate
        total, of = torch.zeros(()), Counter()
        for i in update:
            prompt, completion = template.render(examples[i].prompt, examples[i].reasoning, examples[i].content)
            ids = torch.tensor([(prompt + completion)[: settings.max_length]])
            targets = ids[0, len(prompt) :]
            p = torch.softmax(student(input_ids=ids).logits[0, len(prompt) - 1 : -1], -1).gather(1, targets[:, None])
            total = total - (p.log() * (p.detach() if settings.loss_type == "dft" else 1)).sum()
            of[examples[i].teacher] += len(targets)
        optimizer.zero_grad()
        (total / of.total()).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append((total / of.total()).item())
        tokens.append(of)
    return (student if settings.method == "full" else student.merge_and_unload()), losses, tokens


def test_dft_is_the_loss_that_trl_computes(model, tmp_path):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [Tokenised([5, 6], [7, 8, 9, 1]), Tokenised([5], [20, 1])]
    table = {"input_ids": [[1, 2]], "labels": [[-100, 2]]}
    for loss_type in ("dft", "nll"):
        trl = SFTTrainer(
            model=methods.load(model, Train()),
            args=SFTConfig(
                output_dir=str(tmp_path), loss_type=loss_type, use_cpu=True, bf16=False, report_to="none",
                dataloader_pin_memory=False,
            ),
            train_dataset=Dataset.from_dict(table),
            processing_class=Template.load(model).tokenizer,
        )  # fmt: skip
        labels, inputs = pad(rows, 0)
        mask = torch.tensor([[1] * 6, [1] * 3 + [0] * 3])
        theirs = trl.compute_loss(trl.model, {**inputs, "labels": labels, "attention_mask": mask}, num_items_in_batch=6)
        ours, _ = _loss_of(model, Collate(rows, 0, 100)([{"examples": [0, 1]}])["micro_batches"], loss_type)
        assert ours == pytest.approx(theirs.item(), abs=1e-6)


def test_dft_weights_each_token_with_its_own_probability_without_a_gradient():
    logits = torch.tensor([[1.0, 2.0], [3.0, 0.0]], requires_grad=True)
    targets = torch.tensor([0, 0])
    p = torch.softmax(logits.detach(), -1)[:, 0]
    losses = token_losses(logits, targets, "dft")
    assert torch.allclose(losses, -p * p.log())
    losses.sum().backward()
    assert torch.allclose(logits.grad, p[:, None] * (torch.softmax(logits.detach(), -1) - torch.eye(2)[targets]))


def test_rows_are_cut_where_that_was_asked_for_and_counted(model, examples, tmp_path):
    template = Template.load(model)
    rows = [Tokenised(*template.render(e.prompt, e.reasoning, e.content)) for e in examples]
    settings = Train(overlong="truncate", max_length=20, learning_rate=3e-3)
    facts = fine_tune(model, examples, UPDATES, settings, seed=0, out=tmp_path)
    seen = [rows[i] for update in UPDATES for i in update]
    assert facts["truncated"] == sum(r.length > 20 for r in seen) > 0
    assert facts["loss_tokens"] == sum(min(r.length, 20) - len(r.prompt) for r in seen)
    assert (facts["overlong"], facts["max_length"]) == ("truncate", 20)


def test_rows_whose_prompt_alone_is_too_long_teach_nothing(model, examples, tmp_path):
    settings = Train(overlong="truncate", max_length=3, learning_rate=3e-3)
    facts = fine_tune(model, examples, UPDATES, settings, seed=0, out=tmp_path)
    assert (facts["loss_tokens"], facts["truncated"], facts["displacement"]) == (0, 15, 0.0)


def test_activations_computed_again_give_the_same_student(model, examples, tmp_path):
    for name, again in (("kept", False), ("again", True)):
        settings = Train(gradient_checkpointing=again, learning_rate=3e-3)
        facts = fine_tune(model, examples, UPDATES, settings, seed=0, out=tmp_path / name)
        assert facts["gradient_checkpointing"] is again
    assert _bytes(tmp_path / "kept") == _bytes(tmp_path / "again")


def test_adapters_train_in_bfloat16_with_activations_computed_again(model, examples, tmp_path):
    settings = LORA.model_copy(update={"bf16": True, "gradient_checkpointing": True})
    facts = fine_tune(model, examples, UPDATES, settings, seed=0, out=tmp_path)
    assert facts["precision"] == "bfloat16" and facts["displacement"] > 0
    index = json.loads((tmp_path / "model" / "config.json").read_text())
    assert index["dtype"] == "float32"
    assert generation_config(str(tmp_path / "model")).eos_token_id == generation_config(model).eos_token_id
