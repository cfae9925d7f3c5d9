"""Names of metrics as people write them."""

TITLES = {
    "map@r": "mAP@R",
    "accuracy": "accuracy",
    "matched_accuracy": "accuracy by matching",
    "written_accuracy": "accuracy by likelihood",
    "knn_accuracy": "accuracy of nearest neighbours",
    "macro_f1": "macro F1",
    "mae": "mean absolute error",
    "miou": "mIoU",
    "pixel_accuracy": "pixel accuracy",
    "iou": "IoU",
    "facts": "right facts",
    "bleu4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "cider": "CIDEr-D",
    "jaccard": "Jaccard",
    "f1@0.25": "F1@0.25",
    "f1@0.50": "F1@0.50",
    "ap50": "AP50",
    "ap": "AP",
}
_DIRECTIONS = {"image_to_text_": "image to text ", "text_to_image_": "text to image "}


def title(metric: str) -> str:
    """A metric's name as people write it: "text_to_image_r@1" is "text to image R@1"."""
    for prefix, words in _DIRECTIONS.items():
        if metric.startswith(prefix):
            name = metric.removeprefix(prefix)
            return words + (TITLES.get(name) or name.replace("strict_", "strict ").replace("r@", "R@"))
    name, _, label = metric.partition("/")
    return f"{TITLES.get(name, name)} {label}".strip()
