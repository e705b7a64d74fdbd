"""Lines of the log that say, once a process, how a data set is read where a user might expect it otherwise."""

from functools import cache

from transformers.utils.logging import get_logger

logger = get_logger(__name__)


@cache
def warn_once(message: str) -> None:
    """Log a warning, unless the same one was logged before: several readers see the same rows.

    Args:
        message: one line.
    """
    logger.warning(message)
