"""What is trained and with what: all weights or adapters, which attention, packed or padded; what is lacking here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixdistill.errors import MissingExtra, StageError, did_you_mean, said
from mixdistill.sections import LEARNING_RATES, Lora, Train
from mixdistill.training.distributed import Share

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADAPTER = "adapter"
"""In the folder of a model that was trained with adapters: the adapter that was merged into it."""
FLASH = "flash_attention_2"
LARGE = 300_000_000
"""Weights from which on a full training at an adapter's learning rate is remarked upon."""


def lacking(settings: Train) -> list[str]:
    """What this machine lacks for these settings, one line each."""
    found = _lacking_for_adapters(settings) + _lacking_trackers(settings.report_to)
    if settings.method != "full" and settings.num_processes > 1 and settings.distributed == "fsdp":
        found.append(
            f"train.distributed: fsdp shares the weights of full trainings (got method: {settings.method}); set ddp"
        )
    name = settings.attn_implementation
    why = name and _no_attention(name)
    return [*found, f"train.attn_implementation: {name} {why}; leave it out, or set sdpa"] if why else found


def remarks(settings: Train, weights: int | None) -> list[str]:
    """Learning rates that belong to the other method, one line each. `weights`: how many the model has, where known."""
    rate = settings.learning_rate
    if settings.method != "full" and rate <= 2 * LEARNING_RATES["full"]:
        return [
            f"train.learning_rate: {rate:g} suits a full training, and adapters want about ten times that; leave it "
            f"out for {LEARNING_RATES['lora']:g}"
        ]
    if settings.method == "full" and rate >= LEARNING_RATES["lora"] and (weights or 0) > LARGE:
        return [
            f"train.learning_rate: {rate:g} suits adapters, and may ruin a model of {weights or 0:,} weights that is "
            f"trained in full; leave it out for {LEARNING_RATES['full']:g}"
        ]
    return []


def attention_of(settings: Train) -> str | None:
    """The attention to load a model with; None: its own."""
    if settings.attn_implementation is None and _cuda() and _no_attention(FLASH) is None:
        return FLASH
    return settings.attn_implementation


def packs(settings: Train) -> bool:
    """Whether rows of a forward pass stand one after the other, without padding."""
    return (_cuda() and attention_of(settings) == FLASH) if settings.packing is None else settings.packing


def recomputes(settings: Train) -> bool:
    """Whether activations are computed again in the backward pass."""
    return _cuda() if settings.gradient_checkpointing is None else settings.gradient_checkpointing


def load(model: str, settings: Train) -> PreTrainedModel:
    """The model to be trained: float32 weights, or four bits for `qlora`. Raises StageError for what is lacking."""
    import torch
    from transformers import AutoModelForCausalLM

    missing = lacking(settings)
    if missing:
        raise StageError(missing[0])
    options: dict[str, Any] = {"dtype": torch.float32}
    attention = attention_of(settings)
    if attention:
        options["attn_implementation"] = attention
    if settings.method == "qlora":
        options |= {"quantization_config": four_bits(), "dtype": torch.bfloat16, "device_map": {"": Share.here().rank}}
    try:
        return AutoModelForCausalLM.from_pretrained(model, **options)
    except (ValueError, ImportError) as e:
        if attention is None:
            raise
        raise StageError(
            f"train.attn_implementation: {model} cannot have {attention} ({said(e, 160)}); set sdpa"
        ) from e


def four_bits() -> Any:
    """How weights are held for `qlora`: NF4 with quantised scales, computed with in bfloat16."""
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def adapted(model: PreTrainedModel, settings: Train, *, seed: int) -> Any:
    """The model with adapters on it, the rest of it frozen. The seed alone decides how they start."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    from transformers import set_seed

    lora = settings.lora
    if settings.method == "qlora":
        prepare_model_for_kbit_training(model, use_gradient_checkpointing=recomputes(settings))
    missing = missing_modules(model, lora)
    if missing:
        raise StageError(missing)
    set_seed(seed)
    return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **lora.model_dump()))


def missing_modules(model: Any, lora: Lora) -> str | None:
    """The first of `target_modules` that is no linear layer of the model, as one line. The model may be empty (`meta`).

    PEFT goes on where one of several names is found, and the misspelt one would go untrained in silence.
    """
    if isinstance(lora.target_modules, str):
        return None  # all-linear, or a pattern, which PEFT refuses where it matches nothing
    linear = linear_layers(model)
    known = sorted({name.rpartition(".")[2] for name in linear})
    for target in lora.target_modules:
        if not any(name == target or name.endswith(f".{target}") for name in linear):
            return (
                f"train.lora.target_modules: no linear layer is called '{target}' (got {lora.target_modules}); "
                f"name some of {', '.join(known)}"
            )
    return None


def linear_layers(model: Any) -> list[str]:
    """Names of a model's linear layers, the output left out."""
    import torch

    output = model.get_output_embeddings()
    return [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not output]


def skeleton(model: str) -> Any:
    """A model without weights, to look at its layers."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model))


def merged(model: str, adapter: Path) -> Any:
    """The untuned model in float32 with a saved adapter added to its weights: an ordinary model again."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    return PeftModel.from_pretrained(base, str(adapter)).merge_and_unload()


def _lacking_for_adapters(settings: Train) -> list[str]:
    from importlib.util import find_spec

    if settings.method == "full":
        return []
    if find_spec("peft") is None:
        return [str(MissingExtra("peft", "train"))]
    if settings.method == "qlora":
        without = [
            what for what, there in (("a GPU", _cuda()), ("bitsandbytes", find_spec("bitsandbytes"))) if not there
        ]
        if without:
            return [f"train.method: qlora needs {' and '.join(without)}, which this machine has not; set lora"]
    return []


def _lacking_trackers(names: Sequence[str]) -> list[str]:
    """Trackers that transformers does not know or find; a folder of that name hides the package."""
    if not names:
        return []
    from transformers.integrations.integration_utils import (
        INTEGRATION_TO_CALLBACK,
        get_available_reporting_integrations,
    )

    there, found = get_available_reporting_integrations(), []
    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            hint = did_you_mean(name, INTEGRATION_TO_CALLBACK)
            found.append(f"train.report_to: '{name}' is no tracker that transformers knows{hint}")
        elif name not in there:
            found.append(f"train.report_to: {name} is not installed; run: pip install {name}, or leave it out")
        elif (Path.cwd() / name).is_dir() and not (Path.cwd() / name / "__init__.py").exists():
            found.append(f"train.report_to: the folder {name} here is taken for the tracker; rename it")
    return found


def _no_attention(name: str) -> str | None:
    """Why a model cannot be loaded with this attention here; None where it can."""
    try:
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
        from transformers.utils import is_flash_attn_2_available
    except ImportError as e:
        raise MissingExtra(e.name or "transformers", "train") from None
    if name == FLASH and not is_flash_attn_2_available():
        return "is not available here (it needs a GPU and the package flash_attn)"
    known = ["eager", *ALL_ATTENTION_FUNCTIONS.valid_keys()]
    if "/" not in name and name not in known:  # with one, it is a kernel of the hub
        return f"is no attention that transformers knows (it knows {', '.join(known)})"
    return None


def _cuda() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()
