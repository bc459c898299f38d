"""What the user wrote cannot be used: the base class of all such errors, so that one `except` shows them as one line.

The one inheritance among our own classes: an `except` clause needs a common base. Imports nothing, so that the command
line can catch every such error without loading what raises it.
"""


class UserError(ValueError):
    """A setting, file, folder or log that cannot be used: one line that names it, the rule it breaks and the remedy."""
