"""What the trainers of stages are told beside a recipe's own fields: TRL's configurations, with one field in common."""

from dataclasses import dataclass, field

from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.sft_config import SFTConfig


@dataclass
class ReinforcementConfig(GRPOConfig):
    """TRL's ``GRPOConfig`` of a stage whose evaluations answer greedily, as users are answered."""

    num_generations_eval: int | None = field(default=1, metadata={"help": "Evaluations answer greedily, once."})
    dataset_num_proc: int | None = field(default=None, metadata={"help": "Processes that read rows and image files."})


StageConfig = SFTConfig | ReinforcementConfig
