"""What two identities have in common, and in which words they differ."""

import pytest

from esol.runs.manifest import first_difference, is_manifest, only

WHOLE = {
    "identity": {"stage": "cams"},
    "outputs": {"files": 1, "bytes": 2, "sha256": "0" * 64},
    "results": {},
    "record": {"seconds": 1.0},
}


def test_a_manifest_has_all_its_parts_of_their_types():
    assert is_manifest(WHOLE)
    for key in WHOLE:
        assert not is_manifest({name: value for name, value in WHOLE.items() if name != key})
        assert not is_manifest({**WHOLE, key: []})
    for key, wrong in (("files", "1"), ("bytes", None), ("sha256", 5)):
        assert not is_manifest({**WHOLE, "outputs": {**WHOLE["outputs"], key: wrong}})
    for other in (None, [], "manifest", 3):
        assert not is_manifest(other)


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        ([], {}),
        (["d"], {"d": 3}),
        (["a"], {"a": {"b": 1, "c": 2}}),
        (["a.b"], {"a.b": 1}),
        (["a.c", "d"], {"a.c": 2, "d": 3}),
        (["d.b", "e", "e.f", "b"], {"d.b": None, "e": None, "e.f": None, "b": None}),
    ],
)
def test_only_keeps_keys_and_keys_inside_groups(keys, part):
    identity = {"stage": "cams", "version": 1, "a": {"b": 1, "c": 2}, "d": 3}
    assert only(identity, keys) == {"stage": "cams", "version": 1, **part}
    assert identity == {"stage": "cams", "version": 1, "a": {"b": 1, "c": 2}, "d": 3}


@pytest.mark.parametrize(
    ("there", "now", "said"),
    [
        ({"a": 1}, {"a": 1}, ""),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, "b = 2, not 3"),
        ({"a": 1}, {}, "a = 1, not nothing"),
        ({}, {"a": 1}, "a = nothing, not 1"),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}, "a.b.c = 1, not 2"),
        ({"a": {"b": 1}}, {"a": 5}, "a = {b: 1}, not 5"),
        ({"a": 5}, {"a": {"b": 1}}, "a = 5, not {b: 1}"),
        ({"a": True, "b": 1}, {"a": None, "b": 1}, "a = true, not null"),
        ({"a": ["crf"]}, {"a": []}, "a = [crf], not []"),
        ({"a": "0" * 64}, {"a": "1" * 64}, "other contents of a"),
        ({"a": {"b": "0" * 64}}, {"a": {"b": "1" * 64}}, "other contents of a.b"),
        (
            {"a": {"x": 1, "sha256": "0" * 64}},
            {"a": {"x": 2, "sha256": "1" * 64}},
            "other contents of a",
        ),
        (
            {"a": {"photos": 4, "sha256": "0" * 64}},
            {"a": {"photos": 5, "sha256": "1" * 64}},
            "a.photos = 4, not 5",
        ),
        (
            {"a": {"x": 1, "sha256": "0" * 64}},
            {"a": {"x": 2, "sha256": "0" * 64}},
            "a.x = 1, not 2",
        ),
        ({"a": "0" * 64}, {"a": "none"}, f"a = {'0' * 64}, not none"),
        ({"a": "none"}, {"a": "0" * 64}, f"a = none, not {'0' * 64}"),
        ({"a": "0" * 63}, {"a": "1" * 63}, f"a = {'0' * 63}, not {'1' * 63}"),
    ],
)
def test_the_first_difference_is_told_with_both_values_but_for_digests(there, now, said):
    assert first_difference(there, now) == said
