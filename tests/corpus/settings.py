"""Settings: YAML files and flags."""

from collections.abc import Callable

from corpus import Command, Kind, Place
from esol.settings.load import load_settings


def file(content: str | bytes, *flags: str) -> Callable[[Place], Command]:
    """``esol check`` with this settings file."""

    def make(place: Place) -> Command:
        return ["check", place.write("mine.yaml", content), place.data, *flags]

    return make


def flags(*given: str) -> Callable[[Place], Command]:
    def make(place: Place) -> Command:
        return ["check", place.data, *given]

    return make


def read(place: Place) -> None:
    """The settings are those of the file."""
    settings = load_settings(str(place.folder / "mine.yaml"))
    assert (settings.seed, settings.data.classes) == (7, ("cat", "dog"))


def bomb(levels: int, width: int) -> str:
    """Lists of aliases of lists of aliases: width ** levels names, in a few lines."""
    lines = ['a0: &a0 ["x", "x"]']
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * width)}]")
    return "\n".join(lines) + "\n"


def nested_bomb(levels: int, width: int) -> str:
    """The same where a setting belongs."""
    text = '&a0 ["x", "x"]'
    for level in range(1, levels):
        text = f"&a{level} [{text}{f', *a{level - 1}' * (width - 1)}]"
    return f"data: {{classes: {text}}}\n"


REFUSED = {
    "broken": ("data: [1, 2\n", "is not YAML"),
    "tabs": ("data:\n\ttrain: train\n", "is not YAML"),
    "no UTF-8": (b"data: {train: caf\xe9}\n", "is not YAML"),
    "NUL byte": ("seed: 1\0\n", "is not YAML"),
    "binary": (bytes(range(128, 256)), "is not YAML"),
    "two documents": ("seed: 1\n---\nseed: 2\n", "is not YAML"),
    "tag of a Python object": ("seed: !!python/object/apply:os.system [true]\n", "is not YAML"),
    "tag unknown": ("seed: !mine 3\n", "is not YAML"),
    "tag of another type": ("seed: !!int abc\n", "is not YAML"),
    "a date that is none": ("seed: 2026-99-99\n", "is not YAML"),
    "a number of 5,000 digits": (f"seed: {'9' * 5000}\n", "is not YAML"),
    "alias of nothing": ("data: *nothing\n", "is not YAML"),
    "alias of itself": ("data: &a {classes: *a}\n", "is not YAML"),
    "key that is a list": ("? [1, 2]\n: 3\n", "is not YAML"),
    "key twice": ("seed: 1\nseed: 2\n", "is not YAML"),
    "deeper than Python reads": ("[" * 9999, "is not YAML"),
    "bomb of aliases beside the settings": (bomb(30, 9), "is not YAML"),
    "bomb of aliases in a setting": (nested_bomb(30, 9), "is not YAML"),
    "a list": ("- seed: 1\n", "must be a group of settings"),
    "a word": ("seed\n", "must be a group of settings"),
    "unknown key": ("sed: 1\n", "did you mean seed?"),
    "unknown group": ("dta: {train: x}\n", "did you mean data?"),
    "unknown key in a group": ("data: {trian: x}\n", "did you mean data.train?"),
    "number for a group": ("data: 3\n", "data must be a group of settings"),
    "key that is a number": ("3: 4\n", "there are: "),
}

VALUES = {
    "text for a number": ("seed: many\n", "seed"),
    "fraction for a whole number": ("seed: 1.5\n", "seed"),
    "null for a number": ("seed: null\n", "seed"),
    "list for a number": ("seed: [1]\n", "seed"),
    "text for a list": ("data: {classes: cat}\n", "data.classes"),
    "groups for names": ("data: {classes: [{a: 1}]}\n", "data.classes"),
    "word that is no choice": ("method: magic\n", "method"),
    "below the range": ("seed: -1\n", "seed = -1"),
    "above the range": ("seed: 99999999999\n", "seed = 99999999999"),
    "not a number": ("expand: {alpha: .nan}\n", "expand.alpha"),
    "infinite": ("expand: {fit: {lr: .inf}}\n", "expand.fit.lr"),
    "a class twice": ("data: {classes: [cat, cat]}\n", "data.classes"),
    "null for a name": ("backbone: {name: null}\n", "backbone.name"),
}

SOUND = "seed: 7\ndata: {classes: [cat, dog]}\n"
READ = {
    "sound": SOUND,
    "BOM": SOUND.encode("utf-8-sig"),
    "CRLF": SOUND.replace("\n", "\r\n"),
    "JSON": '{"seed": 7, "data": {"classes": ["cat", "dog"]}}',
    "anchor and alias": "seed: &n 7\ndata: {classes: [cat, dog]}\nmachine: {workers: *n}\n",
    "comments": f"# mine\n{SOUND}# end\n",
}

FLAGS = {
    "unknown": (["--sed=1"], "--sed"),
    "text for a number": (["--seed=x"], "seed"),
    "no value": (["--seed"], "seed"),
    "list without end": (["--data.classes=[cat"], "data.classes"),
    "group": (["--data=3"], "data"),
    "null": (["--seed=null"], "seed"),
    "a list unknown": (["--data.train=later"], "data.train = 'later'"),
    "a class unknown": (["--data.classes=[cat,dog,ape]"], "data.classes"),
    "not a number": (["--expand.alpha=nan"], "expand.alpha"),
    "a number of 5,000 digits": ([f"--seed={'9' * 5000}"], "seed"),
    "deeper than Python reads": ([f"--data.classes={'[' * 9999}"], "data.classes"),
    "three paths": (["x", "y"], "paths were given"),
    "masks in no folder": (["--data.masks=nowhere"], "data.masks"),
    "labels in no file": (["--data.labels=nowhere.csv"], "nowhere.csv"),
    "saliency in no folder": (["--masks.saliency=nowhere"], "masks.saliency"),
}


def missing(place: Place) -> Command:
    return ["check", place.folder / "mine.yaml", place.data]


def bomb_by_flag(place: Place) -> Command:
    return ["check", place.data, "--config", place.write("mine.yaml", nested_bomb(30, 9))]


def value_and_flag(place: Place) -> Command:
    """What is out of range in the file is put right by a flag."""
    return ["check", place.write("mine.yaml", "seed: -1\n"), place.data, "--seed=1"]


def folder(place: Place) -> Command:
    (place.folder / "mine.yaml").mkdir()
    return ["check", place.folder / "mine.yaml", place.data]


KINDS = (
    *(
        Kind(f"settings: {name}", file(text), ("mine.yaml", fix))
        for name, (text, fix) in REFUSED.items()
    ),
    *(
        Kind(f"settings: {name}", file(text), ("mine.yaml", key))
        for name, (text, key) in VALUES.items()
    ),
    Kind("settings: 200 KB", file("#" * 200_000), ("mine.yaml", "at most 100,000")),
    Kind("settings: bomb by --config", bomb_by_flag, ("mine.yaml", "is not YAML")),
    Kind("settings: a file's value with a flag", value_and_flag, then=lambda place: None),
    *(Kind(f"settings: {name}", file(text), then=read) for name, text in READ.items()),
    *(Kind(f"flag: {name}", flags(*given), (key,)) for name, (given, key) in FLAGS.items()),
    Kind("settings: no such file", missing, ("mine.yaml", "no such settings file")),
    Kind("settings: a folder", folder, ("mine.yaml", "no such settings file")),
)
