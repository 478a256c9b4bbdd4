"""Prediction as an ONNX graph: from a photo of any size to its mask, in ONNX's own notation."""

from typing import Any

from esol.data.normalisation import Normalisation

OPSET = 20
"""Operator set of the graph, whose format is of version 10: ONNX Runtime reads both since 1.18."""

NETWORK = "network"
"""The function, of the domain "esol", that stands for the network: (N, 3, h, w) normalised images,
h and w at least 32 -> (N, L, h, w) logits."""

_GRAPH = """<ir_version: 10, opset_import: ["" : {opset}, "esol" : 1]>
predict (uint8[H, W, 3] photo) => (uint8[H, W] mask, float[{labels}, H, W] scores) {{
  zero = Constant <value = int64[1] {{0}}> ()
  corner = Constant <value = int64[2] {{0, 0}}> ()
  rows_columns = Constant <value = int64[2] {{2, 3}}> ()
  least = Constant <value = int64[2] {{32, 32}}> ()
  one_image = Constant <value = int64[2] {{1, 3}}> ()
  all_labels = Constant <value = int64[2] {{1, {labels}}}> ()
  top_level = Constant <value = float {{255}}> ()
  mean = Constant <value = float[1, 3, 1, 1] {{{mean}}}> ()
  deviation = Constant <value = float[1, 3, 1, 1] {{{deviation}}}> ()
  scales = Constant <value = float {{{scales}}}> ()
  photo_size = Shape <end = 2> (photo)
  planes = Transpose <perm = [2, 0, 1]> (photo)
  image = Unsqueeze (planes, zero)
{size_at_scale_1}
  working = Concat <axis = 0> (all_labels, size)
{parts}
  total = Sum ({part_names})
  probabilities = Div (total, scales)
  full = Concat <axis = 0> (all_labels, photo_size)
  stretched = Resize <mode = "linear"> (probabilities, , , full)
  scores = Squeeze (stretched, zero)
  best = ArgMax <axis = 0, keepdims = 0> (scores)
  mask = Cast <to = 2> (best)
}}"""

# Not a constant: with constant paddings, optimisers of ONNX Runtime 1.20 change the network.
_SQUARE = """
  side{i} = Constant <value = int64[1] {{{whole}}}> ()
  nothing{i} = Sub (photo_size, photo_size)
  size{i} = Add (nothing{i}, side{i})"""

# Model.working_size in double precision, as Python has it.
_IN_PROPORTION = """
  side{i} = Constant <value = double {{{side!r}}}> ()
  half{i} = Constant <value = double {{0.5}}> ()
  one{i} = Constant <value = int64[1] {{1}}> ()
  sides{i} = Cast <to = 11> (photo_size)
  longest{i} = ReduceMax (sides{i})
  product{i} = Mul (sides{i}, side{i})
  exact{i} = Div (product{i}, longest{i})
  above{i} = Add (exact{i}, half{i})
  floor{i} = Cast <to = 7> (above{i})
  size{i} = Max (floor{i}, one{i})"""

# Pillow's bicubic filter on whole levels. Where it rounds, this rounds, after each direction: it
# resizes horizontally first, unless the photo loses more than twice as many rows as columns.
_PART = """
  lost{i} = Sub (photo_size, size{i})
  lost_rows{i}, lost_columns{i} = Split <num_outputs = 2> (lost{i})
  twice{i} = Add (lost_columns{i}, lost_columns{i})
  more{i} = Greater (lost_rows{i}, twice{i})
  any{i} = Greater (lost_rows{i}, zero)
  vertical_first{i} = And (more{i}, any{i})
  old_rows{i}, old_columns{i} = Split <num_outputs = 2> (photo_size)
  new_rows{i}, new_columns{i} = Split <num_outputs = 2> (size{i})
  middle_rows{i} = Where (vertical_first{i}, new_rows{i}, old_rows{i})
  middle_columns{i} = Where (vertical_first{i}, old_columns{i}, new_columns{i})
  middle{i} = Concat <axis = 0> (one_image, middle_rows{i}, middle_columns{i})
  target{i} = Concat <axis = 0> (one_image, size{i})
  once{i} = Resize <mode = "cubic", cubic_coeff_a = -0.5, antialias = 1, exclude_outside = 1>
    (image, , , middle{i})
  resized{i} = Resize <mode = "cubic", cubic_coeff_a = -0.5, antialias = 1, exclude_outside = 1>
    (once{i}, , , target{i})
  levels{i} = Cast <to = 1> (resized{i})
  shares{i} = Div (levels{i}, top_level)
  centred{i} = Sub (shares{i}, mean)
  normalised{i} = Div (centred{i}, deviation)
  {views}
  missing{i} = Sub (least, size{i})
  short{i} = Max (missing{i}, zero)
  padding{i} = Concat <axis = 0> (corner, short{i})
  padded{i} = Pad (views{i}, padding{i}, , rows_columns)
  logits{i} = esol.network (padded{i})
  inside{i} = Slice (logits{i}, corner, size{i}, rows_columns)
  softmax{i} = Softmax <axis = 1> (inside{i})
  {average}
  part{i} = Resize <mode = "linear"> (average{i}, , , working)"""

_ONE_VIEW = ("views{i} = Identity (normalised{i})", "average{i} = Identity (softmax{i})")

_MIRRORED = (
    """columns{i} = Constant <value = int64[1] {{3}}> ()
  last{i} = Constant <value = int64[1] {{-1}}> ()
  before_first{i} = Constant <value = int64[1] {{-9223372036854775807}}> ()
  mirrored{i} = Slice (normalised{i}, last{i}, before_first{i}, columns{i}, last{i})
  views{i} = Concat <axis = 0> (normalised{i}, mirrored{i})""",
    """two{i} = Constant <value = float {{2}}> ()
  plain{i}, other{i} = Split <axis = 0, num_outputs = 2> (softmax{i})
  turned{i} = Slice (other{i}, last{i}, before_first{i}, columns{i}, last{i})
  sum{i} = Add (plain{i}, turned{i})
  average{i} = Div (sum{i}, two{i})""",
)


def prediction_graph(description: dict[str, Any], normalisation: Normalisation) -> str:
    """The graph around the network, as text for ``onnx.parser``.

    Input "photo": (H, W, 3) uint8, RGB. Outputs "mask": (H, W) uint8; "scores": (L, H, W) float32
    probabilities, background first. Each scale calls the function ``NETWORK``.

    Args:
        description: as in ``esol.predict.bundle.save_bundle``.
        normalisation: of the photos.
    """
    scales, mirrored = description["scales"], description["flip"]
    views, average = _MIRRORED if mirrored else _ONE_VIEW
    parts = []
    for number, scale in enumerate(scales, 1):
        i = f"_{number}"
        steps = _PART.format(i=i, views=views.format(i=i), average=average.format(i=i))
        parts.append(_size(description, i, scale) + steps)
    return _GRAPH.format(
        opset=OPSET,
        labels=len(description["classes"]) + 1,
        mean=", ".join(map(str, normalisation.mean)),
        deviation=", ".join(map(str, normalisation.std)),
        scales=len(scales),
        size_at_scale_1=_size(description, "", 1.0),
        parts="\n".join(parts),
        part_names=", ".join(f"part_{number}" for number in range(1, len(scales) + 1)),
    )


def _size(description: dict[str, Any], i: str, scale: float) -> str:
    """Nodes that compute ``size{i}``, (2,) int64 height and width of the working image."""
    if description["resize"] == "squash":
        return _SQUARE.format(i=i, whole=max(1, int(scale * description["size"] + 0.5)))
    return _IN_PROPORTION.format(i=i, side=float(scale * description["longest"]))
