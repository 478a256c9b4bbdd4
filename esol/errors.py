"""The one exception that means "the user can fix this"."""


class InputError(Exception):
    """Something given by the user is wrong: a file, a value, a folder.

    The message is one line: it names the file or the key and says how to mend it. The command
    line prints it without a traceback and exits with code 2.
    """
