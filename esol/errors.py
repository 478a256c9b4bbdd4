"""The one exception that means "the user can fix this", and how its message is shown."""


class InputError(Exception):
    """Something given by the user is wrong: a file, a value, a folder.

    The message is one line: it names the file or the key and says how to mend it. The command
    line prints it without a traceback and exits with code 2.
    """


def printable(text: str) -> str:
    """Text with control characters and undecodable bytes written out.

    A photo may have any name; none shall break a line in two, or steer the terminal.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
