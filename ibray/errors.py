"""The one exception whose message is meant for the person at the keyboard."""


class UserError(ValueError):
    """Something the user can put right: the message says what is wrong, where, and what is allowed.

    The command line prints it on one line and exits with code 2; no traceback is shown.
    """
