"""Masks to and from label tools: export, correct there, import."""

TOOLS = ("labelstudio", "cvat", "coco", "voc")
"""What masks can be exported to and imported from."""

WHAT = ("masks", "crf", "segmentation", "seeds", "corrected")
"""Masks of a run that can be exported; corrected: pseudo masks, with the imported ones in place."""
