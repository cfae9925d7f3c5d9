"""One of two processes that take a step on half a batch each: python -m ... RANK FOLDER"""

import sys
from pathlib import Path
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from tests.modeling_fusarklip.tiny_klip import facts, tiny_klip, tiny_klip_inputs

SO = facts({0: 1}, {0: 2}, {0: 1}, {0: 3}, {0: 1}, {0: 2}, {0: 3}, {0: 4})


def whole_batch(with_facts: bool) -> dict[str, Any]:
    return tiny_klip_inputs(8, image_facts=SO, text_facts=SO) if with_facts else tiny_klip_inputs(8)


def model_of(contrastive: str) -> Any:
    losses = {"itm": 0, "mlm": 0, "contrastive": contrastive, "queue_size": 8}
    return tiny_klip(losses_config=losses, geography_config={"drop_field": 0.0, "drop_all": 0.0}).train()


def main() -> None:
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    found: dict[str, Any] = {}
    for contrastive in ("softmax", "sigmoid"):
        for with_facts in (True, False):
            wrapped = DistributedDataParallel(model_of(contrastive), find_unused_parameters=True)
            half = {name: value[4 * rank : 4 * rank + 4] for name, value in whole_batch(with_facts).items()}
            # Twice: the second step meets the queue that the first has filled.
            wrapped(**half, return_loss=True).loss.backward()
            output = wrapped(**half, return_loss=True)
            output.loss.backward()
            gradients = {name: value.grad for name, value in wrapped.module.named_parameters()}
            found[f"{contrastive} {with_facts}"] = {
                "loss": output.loss.detach(),
                "gradients": {name: value for name, value in gradients.items() if value is not None},
                "queue": wrapped.module.queue.images,
            }
    torch.save(found, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
