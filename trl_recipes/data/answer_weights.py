"""What the tokens of an answer weigh in the loss, by how many the answer has."""

import torch
from torch import Tensor

from trl_recipes.arguments import AnswerWeight

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
    begins = carries_loss.clone()
    begins[:, 1:] &= ~carries_loss[:, :-1]
    answers = begins.flatten().cumsum(0).view_as(labels) * carries_loss
    # As long as there could be answers, so that nothing waits for how many there are; 0 is all that is none.
    tokens = torch.zeros(labels.numel() + 1, device=labels.device).index_add_(
        0, answers.flatten(), torch.ones(labels.numel(), device=labels.device)
    )
    return tokens[answers] ** _POWERS[weight] * carries_loss
