"""Masks to and from label tools: export, correct there, import."""

TOOLS = ("labelstudio", "cvat", "coco", "yolo", "voc", "png")
"""What masks can be exported to and imported from."""

WHAT = ("masks", "crf", "segmentation", "seeds", "corrected")
"""Masks of a run that can be exported; corrected: pseudo masks, with the imported ones in place."""

OBJECTS = {
    "class": "one for each class of a photo",
    "parts": "one for each connected part of a class's mask, which need not be an object",
    "instances": "one for each object, as IRN's displacement field groups the pixels of a class",
}
"""What the regions of a photo are, in labelstudio, cvat, coco and yolo."""

TOLERANCE = 1.0
"""Usual tolerance of polygons, pixels."""
