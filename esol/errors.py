"""The one exception that means "the user can fix this", and how its message is shown."""

import errno

_SHORTAGE = (
    *("can't allocate memory", "out of memory", "not enough memory", "bad_alloc"),
    *("ALLOC_FAILED", "killed by signal: Killed"),
)
"""In what PyTorch's allocators, CUDA's libraries and a killed loader of photos say."""


class InputError(Exception):
    """A mistake of the user: a file, a value, a folder.

    The message is one line: it names the file or the key and says how to fix it. The command
    line prints it without a traceback and exits with code 2.
    """

    def __init__(self, message: str) -> None:
        super().__init__(visible(message))


def visible(text: str) -> str:
    r"""Text with escapes in the place of characters that are not to be seen.

    File names may hold line breaks, and bytes that are not UTF-8.

    >>> visible("a\nb.jpg: empty")
    'a\\nb.jpg: empty'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def spelled(value: object) -> str:
    """A value as YAML and flags spell it.

    >>> spelled(True), spelled(None), spelled(("crf", "irn")), spelled({"flip": False})
    ('true', 'null', '[crf, irn]', '{flip: false}')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(spelled, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {spelled(part)}' for key, part in value.items())}}}"
    return "null" if value is None else str(value)


def one_line(error: BaseException, lines: int = 0, length: int = 0) -> str:
    """An exception's text for a message of one line; its type's name if it has none.

    Args:
        error: what was raised.
        lines: only the first so many lines with text; 0: all.
        length: at most so many characters; 0: any.
    """
    parts = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    text = " ".join(parts[: lines or None])
    return text[: length or None] or type(error).__name__


def is_shortage(error: BaseException) -> bool:
    """Whether memory ran out: by Python, PyTorch (on a CPU or a GPU) or the system (ENOMEM)."""
    if isinstance(error, InputError):
        return False
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    said = isinstance(error, RuntimeError) and any(text in str(error) for text in _SHORTAGE)
    return said or isinstance(error, MemoryError)


def shortage(error: BaseException) -> str:
    """The line where memory ran out apart from work on photos; "" if it did not."""
    if not is_shortage(error):
        return ""
    return f"not enough memory ({one_line(error, 1, 120)}): give more memory"
