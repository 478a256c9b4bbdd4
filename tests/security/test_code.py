"""What the package never calls: unpickling, eval, a shell, YAML objects, the network."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import esol

PACKAGE = Path(esol.__file__).parent

FORBIDDEN_MODULES = {
    *("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "code"),
    *("socket", "http", "ftplib", "smtplib", "requests", "httpx", "ctypes"),
    "urllib.request",
}
"""Not to be imported, but for names that are exceptions."""

FORBIDDEN_CALLS = {
    *("eval", "exec", "compile", "__import__"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "tempfile.mktemp"),
    *("np.fromregex", "torch.hub.load", "torch.jit.load", "torch.package.PackageImporter"),
}

NEEDED_ARGUMENTS = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "np.save": ("allow_pickle", False),
}

UNPACKERS = ("extract", "extractall", "unpack_archive")
"""Methods that write an archive's files where it says."""

MAY_UNPACK = ("label_tools/sources.py",)
"""It looks at every name before."""

MAY_CALL_C = ("system/allocator.py", "ctypes")
"""It calls one function of the C library that is loaded anyway, with constants."""

MAY_OPEN = "data/images.py"
"""It gives Pillow the formats that may be tried."""


def faults(text: str, file: str) -> Iterator[str]:
    """What a source file calls or imports that it must not."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # An exception's name is harmless.
            kept = [a.name for a in node.names if not a.name.endswith("Error")]
            names = [str(node.module)] if kept else []
        else:
            names = []
        for name in names:
            if (file, name) == MAY_CALL_C:
                continue
            if name in FORBIDDEN_MODULES or name.split(".")[0] in FORBIDDEN_MODULES:
                yield f"{file}:{getattr(node, 'lineno', 0)}: import {name}"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            given = {word.arg: word.value for word in node.keywords}
            where = f"{file}:{node.lineno}: {called}"
            if called in FORBIDDEN_CALLS:
                yield where
            if called in NEEDED_ARGUMENTS:
                key, wanted = NEEDED_ARGUMENTS[called]
                value = given.get(key)
                if not (isinstance(value, ast.Constant) and value.value is wanted):
                    yield f"{where} without {key}={wanted}"
            if called.endswith("Image.open") and (file != MAY_OPEN or "formats" not in given):
                yield f"{where} opens an image of any format"
            shell = given.get("shell")
            if shell is not None and not (isinstance(shell, ast.Constant) and not shell.value):
                yield f"{where} with a shell"
            if called.split(".")[-1] in UNPACKERS and file not in MAY_UNPACK:
                yield f"{where} unpacks"


def test_the_package_is_without_them():
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 100
    found = [
        fault
        for path in files
        for fault in faults(path.read_text(encoding="utf-8"), path.relative_to(PACKAGE).as_posix())
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import urllib.request",
        "from urllib.request import urlopen",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=sure)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, Loader=yaml.Loader)",
        "eval(text)",
        "os.system(text)",
        "subprocess.run(text, shell=True)",
        "subprocess.run(text, shell=chosen)",
        "archive.extractall(folder)",
        "shutil.unpack_archive(path)",
        "Image.open(path)",
        "PIL.Image.open(path, formats=FORMATS)",
    ],
)
def test_what_is_looked_for_is_found(text):
    assert list(faults(text, "a.py"))


@pytest.mark.parametrize(
    "text",
    [
        "from pickle import UnpicklingError",
        "from urllib.parse import unquote",
        "torch.load(path, weights_only=True)",
        "np.load(path, allow_pickle=False)",
        "yaml.safe_load(text)",
        "model.eval()",
        "re.compile(text)",
        "subprocess.run([text])",
    ],
)
def test_what_is_harmless_passes(text):
    assert not list(faults(text, "a.py"))
