"""Objects from constructed displacement fields."""

import numpy as np
import pytest

from esol.masks.instances import instances


def scene(boxes, h=30, w=40, blur=0.0):
    """Field that points to the middle of each box (top, left, bottom, right), 0 elsewhere."""
    y, x = np.mgrid[:h, :w].astype(np.float32)
    field = np.zeros((2, h, w), np.float32)
    owner = np.zeros((h, w), np.int32)
    for number, (top, left, bottom, right) in enumerate(boxes, 1):
        part = (slice(top, bottom), slice(left, right))
        field[0][part] = (top + bottom - 1) / 2 - y[part]
        field[1][part] = (left + right - 1) / 2 - x[part]
        owner[part] = number
    field += blur * np.random.default_rng(0).standard_normal(field.shape).astype(np.float32)
    return field, owner


TWINS = [(5, 4, 25, 20), (5, 20, 25, 36)]


@pytest.mark.parametrize("blur", [0.0, 0.5])
def test_touching_squares_of_one_class_are_two_objects(blur):
    field, owner = scene(TWINS, blur=blur)
    semantic = np.where(owner > 0, 7, 0).astype(np.uint8)
    result = instances(field, semantic)
    assert result.dtype == np.int32
    assert result.max() == 2
    assert (result == owner).mean() > 0.97
    assert np.array_equal(result > 0, owner > 0)


@pytest.mark.parametrize("size", [(120, 160), (117, 158), (64, 64)])
def test_masks_of_any_size(size):
    field, owner = scene(TWINS)
    row = (np.arange(size[0]) * 30 // size[0])[:, None]
    large = owner[row, np.arange(size[1]) * 40 // size[1]]
    semantic = np.where(large > 0, 1, 0).astype(np.uint8)
    result = instances(field, semantic)
    assert result.shape == size
    assert result.max() == 2
    assert (result == large).mean() > 0.97


def test_classes_never_share_an_object():
    field, owner = scene([(5, 5, 25, 35)])
    semantic = np.where(owner > 0, 2, 0).astype(np.uint8)
    semantic[5:25, 20:35] = 1
    semantic[0] = 255
    result = instances(field, semantic)
    assert set(np.unique(result[semantic == 1])) == {1}
    assert set(np.unique(result[semantic == 2])) == {2}
    assert not result[(semantic == 0) | (semantic == 255)].any()


def test_numbers_go_by_class_then_by_first_pixel():
    boxes = [(20, 2, 29, 12), (2, 25, 12, 38), (3, 2, 12, 12)]
    field, owner = scene(boxes)
    semantic = np.array([0, 5, 5, 9], np.uint8)[owner]
    result = instances(field, semantic)
    assert np.array_equal(result, np.array([0, 2, 1, 3])[owner])


def test_an_object_in_two_pieces_is_one():
    field, owner = scene([(5, 5, 25, 35)])
    semantic = np.where(owner > 0, 1, 0).astype(np.uint8)
    semantic[:, 18:22] = 0
    assert instances(field, semantic).max() == 1


def test_small_groups_join_the_nearest():
    boxes = [(5, 2, 25, 14), (5, 26, 25, 38), (1, 15, 3, 18)]
    field, owner = scene(boxes)
    semantic = np.where(owner > 0, 1, 0).astype(np.uint8)
    assert instances(field, semantic, smallest=1).max() == 3
    result = instances(field, semantic)
    assert result.max() == 2
    left = result[10, 5]
    assert (result[owner == 3] == left).all()
    assert instances(field, semantic, smallest=10_000).max() == 1


def test_many_steps_of_a_weak_field_arrive():
    field, owner = scene(TWINS)
    semantic = np.where(owner > 0, 1, 0).astype(np.uint8)
    assert np.array_equal(instances(0.2 * field, semantic), owner)


def test_fields_that_lead_off_the_map():
    semantic = np.ones((1, 9), np.uint8)
    result = instances(np.full((2, 1, 9), -100, np.float32), semantic)
    assert (result == 1).all()


def test_no_class_no_object():
    field, _ = scene([])
    assert not instances(field, np.zeros((30, 40), np.uint8)).any()
    assert not instances(field, np.full((30, 40), 255, np.uint8)).any()


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"must be \(2, h, w\)"):
        instances(np.zeros((3, 4, 4)), np.zeros((4, 4), np.uint8))
