"""The one exception for mistakes that a user can mend."""


class BadInput(ValueError):
    """Something given by the user is impossible; the message is one line: the thing, its value, what was expected."""


class Stopped(Exception):
    """A signal asked the program to stop; everything up to the last commit is on disk."""
