"""What leaves this machine says nothing of where things lie on it."""

from pathlib import Path


def last_name(name: str) -> str:
    """Of an absolute path its last name; any other name as it is.

    Args:
        name: an id on the Hub, a description, or a path.

    Example:
        >>> last_name("/home/me/data/flowers"), last_name("me/flowers")
        ('flowers', 'me/flowers')
    """
    return Path(name).name if Path(name).is_absolute() else name


def without_folder(text: str, folder: Path, name: str) -> str:
    """A message with a folder called by the name of what it holds.

    Args:
        text: of an error about files in the folder.
        folder: that the message may name.
        name: to stand there instead.

    Example:
        >>> without_folder("no config.json in /cache/0a1b", Path("/cache/0a1b"), "org/model")
        'no config.json in org/model'
    """
    for path in {folder.absolute(), folder.resolve()}:
        text = text.replace(str(path), name)
    return text
