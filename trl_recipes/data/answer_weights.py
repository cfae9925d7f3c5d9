"""What the tokens of an answer weigh in the loss, by how many the answer has."""

import torch
from torch import Tensor

from trl_recipes.arguments import AnswerWeight
from trl_recipes.data.row_tasks import answers_begun

_POWERS: dict[AnswerWeight, float] = {"tokens": 0.0, "square_root": -0.5, "answers": -1.0}


def token_weights(labels: Tensor, weight: AnswerWeight, ignored: int) -> Tensor:
    """The weight of every token that carries loss, 0 elsewhere: float32 [batch, tokens].

    "square_root" is the square averaging of InternVL 2.5 (arXiv 2412.05271): between answers of a number and of many
    boxes, of which the latter are nearly all tokens.

    Args:
        labels: int64 [batch, tokens]; a run of labels other than `ignored` is one answer.
        ignored: the label without loss.
    """
    carries_loss = labels != ignored
    # 0 is all of a row that is no answer; as many places as there could be answers, so that nothing waits for a number.
    answers = answers_begun(labels, ignored) * carries_loss
    width = labels.shape[1] + 1
    tokens = torch.zeros(len(labels), width, device=labels.device).scatter_add_(1, answers, carries_loss.float())
    return tokens.gather(1, answers).clamp(min=1) ** _POWERS[weight] * carries_loss
