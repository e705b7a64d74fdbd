"""What a score is worth that tells nothing about the labels, from the number of rows of each class."""

import math
from collections.abc import Mapping


def chance_level(metric: str, rows_of_class: Mapping[str, int]) -> float | None:
    """The score of a teacher whose outputs have nothing to do with the labels.

    Args:
        metric: name of a metric.
        rows_of_class: scored rows of each class.

    Returns:
        None for a metric without such a level, such as a transport score, or without rows.

    Example:
        >>> chance_level("information_gain", {"cat": 5, "dog": 5})
        0.0
        >>> chance_level("nearest_neighbour", {"cat": 5, "dog": 5})
        0.5
    """
    total = sum(rows_of_class.values())
    if not total:
        return None
    shares = [rows / total for rows in rows_of_class.values() if rows]
    if metric == "information_gain":
        return 0.0
    if metric == "nearest_neighbour":  # the other row and the row itself draw their classes independently
        return sum(share**2 for share in shares)
    if metric in ("leep", "nce"):  # log-likelihoods, which the class shares alone reach as well
        return sum(share * math.log(share) for share in shares)
    return None
