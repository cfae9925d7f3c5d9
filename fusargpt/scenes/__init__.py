"""From whole SAR scenes to answers on the map: tiles with overlap, anchors for each, boxes merged across tiles."""

from fusargpt.scenes.verbs import classify, count, describe, detect, localize

__all__ = ["classify", "count", "describe", "detect", "localize"]
