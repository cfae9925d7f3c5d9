"""Models as training builds them, synthetic batches, and the counters that plans are held against."""

import gc
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as distributed
from peft import get_peft_model
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile
from trl.trainer.utils import add_fused_lm_head

from fusargpt.checkpoints import NANO
from modeling_fusargpt import FusarGptConfig, FusarGptForConditionalGeneration
from trl_recipes.arguments import RecipeArguments, Train
from trl_recipes.model.parameters import freeze, lora_config
from trl_recipes.planning.flops import Shape, Stage
from trl_recipes.planning.memory import Memory, Run, Strategy, memory_per_gpu
from trl_recipes.planning.sizes import Sizes, sizes_of

RUNS_UNDER_FSDP2 = 3
ROWS, TEXT_TOKENS, ANCHORS = 4, 64, 64


@dataclass(frozen=True)
class Case:
    """A stage as it is run here: `dtype` as in a recipe, `autocast` to bfloat16."""

    train: Train
    checkpointing: bool = False
    dtype: str = "float32"
    autocast: bool = False
    attention: str = "sdpa"
    strategy: Strategy = "ddp"
    gpus: int = 1
    masked: bool = False

    @property
    def prior(self) -> bool:
        return self.train not in ("language", "all")

    @property
    def stage(self) -> Stage:
        return Stage(self.train, 8, self.checkpointing, feature_cache=False, eager=self.attention == "eager")

    def run(self) -> Run:
        weight = 4 if self.dtype == "float32" else 2
        product: Any = 2 if self.autocast else weight
        attention: Any = self.attention
        return Run(self.stage, weight, product, attention, 8, ROWS, self.gpus, self.masked, triton=False)

    def memory(self, sizes: Sizes, shape: Shape) -> Memory:
        return memory_per_gpu(sizes, shape, self.run(), self.strategy)


def nano_config() -> FusarGptConfig:
    return FusarGptConfig.from_pretrained(NANO)


def build(case: Case, config: FusarGptConfig) -> nn.Module:
    """The model of a stage before its first step, with random weights and TRL's loss, as `SFTTrainer` sets it up."""
    prior: Any = "true" if case.prior else "none"
    dtype: Any = case.dtype
    recipe = RecipeArguments("model", ["data"], case.train, prior=prior, dtype=dtype)
    config._attn_implementation = case.attention  # pyright: ignore[reportPrivateUsage]  # no setter
    torch.manual_seed(0)
    model = FusarGptForConditionalGeneration(config).to(getattr(torch, case.dtype))
    freeze(model, recipe)
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
    adapter = lora_config(recipe)
    if case.checkpointing:
        model.activation_checkpointing_enable()
    return (model if adapter is None else get_peft_model(model, adapter)).train()


def make_batch(case: Case, config: FusarGptConfig, grid: tuple[int, int] = (12, 12)) -> tuple[dict[str, Tensor], Shape]:
    """A batch of `ROWS` sequences with an image of `grid` patches each, and its shape for a plan.

    With a mask one of them is padded; as training has it, rows need none.

    The loss without Triton is computed at all positions but the last.
    """
    sizes, generator = sizes_of(config.to_dict()), torch.Generator().manual_seed(0)
    visual = grid[0] * grid[1] // sizes.merge**2
    length = visual + TEXT_TOKENS
    ids = torch.randint(10, 250, (ROWS, length), generator=generator)  # no special tokens in either vocabulary
    ids[:, 3], ids[:, 4 : 4 + visual], ids[:, 4 + visual] = (
        config.vision_start_token_id,
        config.image_token_id,
        config.vision_end_token_id,
    )
    labels, attended = ids.clone(), torch.ones_like(ids)
    labels[:, : -TEXT_TOKENS // 2], attended[0, -1], labels[0, -1] = -100, 0, -100
    batch = {
        "input_ids": ids,
        "labels": labels,
        **({"attention_mask": attended} if case.masked else {}),
        "mm_token_type_ids": (ids == config.image_token_id).int(),
        "pixel_values": torch.randn(ROWS * grid[0] * grid[1], sizes.patch_values, generator=generator),
        "image_grid_thw": torch.tensor([[1, *grid]] * ROWS),
    }
    if case.prior:
        embeddings = torch.randn(ROWS, ANCHORS, sizes.prior, generator=generator)
        batch["prior_embeddings"] = embeddings / embeddings.norm(dim=-1, keepdim=True)
        batch["prior_positions"] = torch.rand(ROWS, ANCHORS, 2, generator=generator)
        batch["prior_mask"] = torch.ones(ROWS, ANCHORS, dtype=torch.bool)
    return batch, Shape(*grid, TEXT_TOKENS, length - 1, ANCHORS if case.prior else None)


def loss_of(case: Case, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=case.autocast):
        return model(**batch, fused_lm_head=True).loss


def kept_by_autograd(case: Case, model: nn.Module, batch: dict[str, Tensor]) -> int:
    """Bytes of all storages that the graph of a forward pass holds, those of parameters and of the batch left out."""
    held = [*model.parameters(), *model.buffers(), *batch.values()]
    known = {tensor.untyped_storage().data_ptr() for tensor in held}
    found: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        found.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = loss_of(case, model, batch)
    assert loss.requires_grad
    return sum(tensor.untyped_storage().nbytes() for address, tensor in found.items() if address not in known)


@dataclass(frozen=True)
class Measured:
    """Bytes in one process: what it holds after a step, and the most that torch's allocator gave out at a time."""

    weights: int
    gradients: int
    optimizer: int
    peak: int


def measure(case: Case) -> Measured:
    """Two steps of nano, the second over two micro-batches; in a process group under `case.strategy`.

    The peak is that of torch's CPU allocator: every tensor, those of DDP's buckets and of FSDP2's gathers included. Not
    seen is what gloo and the BLAS hold for themselves, nor Python and its libraries, which are most of what the
    operating system counts for a model of this size.
    """
    # The profiler would count what an earlier case has left, when Python comes to free it, as memory given back.
    gc.collect()
    config = nano_config()
    batch, _ = make_batch(case, config)
    model = build(case, config)
    if case.strategy == "fsdp2":
        _shard(model, case.gpus)
    held = _bytes(model.parameters()) + _bytes(batch.values())
    with _allocations() as peak:
        # One seed has made the same weights everywhere. Sending them would leave gloo with a copy for some time.
        wrapped = model
        if case.strategy == "ddp" and case.gpus > 1:
            wrapped = DistributedDataParallel(model, find_unused_parameters=True, init_sync=False)
        optimizer = torch.optim.AdamW([weight for weight in wrapped.parameters() if weight.requires_grad])
        for micro_batches in (1, 2):
            optimizer.zero_grad()
            for number in range(micro_batches):
                gc.collect()  # checkpointing leaves cycles, which hold activations until Python happens to look
                last = number == micro_batches - 1
                with nullcontext() if last or not isinstance(wrapped, DistributedDataParallel) else wrapped.no_sync():
                    loss_of(case, wrapped, batch).backward()
            optimizer.step()
    gradients = [weight.grad for weight in wrapped.parameters() if weight.grad is not None]
    states = [value for state in optimizer.state.values() for value in state.values() if value.numel() > 1]
    return Measured(
        weights=_bytes(wrapped.parameters()),
        gradients=_bytes(gradients),
        optimizer=_bytes(states),
        peak=held + peak(),
    )


def measure_in_group(rank: int, size: int, store: str, cases: list[Case], results: Any) -> None:
    """The body of one of `size` processes; puts a list of `Measured`, or what went wrong, into the queue `results`."""
    torch.set_num_threads(1)
    try:
        distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
        results.put([_least(case) for case in cases])
        distributed.destroy_process_group()
    except Exception as error:
        results.put(repr(error))
        raise


def _least(case: Case) -> Measured:
    """Under FSDP2 the run with the lowest peak of some: a process keeps what it sends while the other one is late."""
    runs = RUNS_UNDER_FSDP2 if case.strategy == "fsdp2" else 1
    return min((measure(case) for _ in range(runs)), key=lambda measured: measured.peak)


def _shard(model: nn.Module, processes: int) -> None:
    assert isinstance(model, FusarGptForConditionalGeneration)
    mesh = init_device_mesh("cpu", (processes,))
    for layer in (*model.model.language_model.layers, *model.model.visual.blocks):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)


def _bytes(tensors: Iterable[Tensor]) -> int:
    """In this process: of its part of each tensor that is spread over processes."""
    return sum((tensor.to_local() if isinstance(tensor, DTensor) else tensor).nbytes for tensor in tensors)


@contextmanager
def _allocations() -> Generator[Callable[[], int]]:
    """Gives a function that tells, afterwards, the most bytes that were allocated at a time inside the context."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        yield lambda: _peak(profiler)


def _peak(profiler: Any) -> int:
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    assert events, "torch's profiler has recorded no allocation"
    total = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        total += event.nbytes()
        peak = max(peak, total)
    return peak
