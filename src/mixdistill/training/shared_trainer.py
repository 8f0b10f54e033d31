"""What TRL's trainer needs so that several processes share one training. Imports torch: import it where it is used.

Every process goes through the same updates and takes its share of each. Losses and gradients are added up over all.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch  # noqa: TID253
from torch.utils.data import DataLoader  # noqa: TID253
from trl import SFTTrainer  # noqa: TID253

from mixdistill.training.checkpoints import ALONE, LAYOUT
from mixdistill.training.distributed import Share


class SharedTrainer(SFTTrainer):
    """An SFTTrainer of which each process takes what its collator gives it; alone, it is TRL's own."""

    def __init__(self, **kwargs: Any):
        self.share = Share.here()
        super().__init__(**kwargs)

    @property
    def layout(self) -> dict[str, Any]:
        """How the training is shared."""
        return self.share.layout("fsdp" if self.is_fsdp_enabled else "ddp")

    def create_accelerator_and_postprocess(self) -> None:
        """As the trainer does, but FSDP on CPU as well, which accelerate knows on GPUs alone; and gradients are added
        up over the processes in float32, as one process does, where the weights are gathered in bfloat16."""
        super().create_accelerator_and_postprocess()
        if not self.args.fsdp or self.share.processes == 1:
            return
        from accelerate.state import AcceleratorState, DistributedType
        from accelerate.utils import FullyShardedDataParallelPlugin
        from torch.distributed.fsdp import MixedPrecisionPolicy

        if not self.is_fsdp_enabled:
            state = AcceleratorState()
            state.distributed_type = DistributedType.FSDP
            state.fsdp_plugin = FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args)
            self.is_fsdp_enabled = True
        if self.args.bf16:
            plugin: Any = self.accelerator.state.fsdp_plugin
            plugin.mixed_precision_policy = MixedPrecisionPolicy(torch.bfloat16, reduce_dtype=torch.float32)

    def get_train_dataloader(self) -> DataLoader:
        """All updates in every process: accelerate would deal them out."""
        updates: Any = self.train_dataset
        return DataLoader(updates, batch_size=1, collate_fn=self.data_collator)

    def adding_up(self, model: Any, *, last: bool) -> AbstractContextManager[None]:
        """Around a micro-batch's passes: whole models put their gradients together once an update, after the last.
        Sharded ones do so every time: until then each process would hold the gradients of all weights."""
        if last or self.share.processes == 1 or self.is_fsdp_enabled:
            return nullcontext()
        return self.accelerator.no_sync(model)

    def mean_of_all(self, value: torch.Tensor) -> torch.Tensor:
        """Mean over the processes."""
        if self.share.processes > 1:
            torch.distributed.all_reduce(value)
        return value / self.share.processes

    @contextmanager
    def whole(self) -> Generator[None]:
        """Inside, the first process has every weight whole in its model, and no use for it but to read them. All have
        to take part."""
        parts = self._gathered() if self.is_fsdp_enabled else []
        try:
            yield
        finally:
            for module, name, part in parts:
                module.register_parameter(name, part)

    def _gathered(self) -> list[tuple[Any, str, torch.nn.Parameter]]:
        """Put whole weights in the place of parts in the first process; the parts, and where they were."""
        model: Any = self.model
        parts, known = [], dict[int, torch.nn.Parameter]()  # tied weights stay one
        for module in model.modules():
            for name, part in list(module.named_parameters(recurse=False, remove_duplicate=False)):
                if id(part) not in known:
                    held: Any = part.detach()
                    whole = held.full_tensor().cpu() if hasattr(held, "full_tensor") else held
                    known[id(part)] = torch.nn.Parameter(whole, part.requires_grad) if self.share.first else part
                if self.share.first:
                    parts.append((module, name, part))
                    module.register_parameter(name, known[id(part)])
        self.accelerator.wait_for_everyone()
        return parts

    def _save_rng_state(self, output_dir: str) -> None:
        """The last that every process writes into a checkpoint; what makes it whole is written after it."""
        super()._save_rng_state(output_dir)
        if self.share.first and self.layout != ALONE:
            (Path(output_dir) / LAYOUT).write_text(json.dumps(self.layout), encoding="utf-8")
        self.accelerator.wait_for_everyone()
