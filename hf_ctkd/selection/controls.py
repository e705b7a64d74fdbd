"""Control scores, which know nothing of the target task: a metric that does not beat them is no evidence."""

import hashlib

from hf_ctkd.records import TeacherCandidate

CONTROLS = ("parameters", "downloads", "random")
"""Names of the controls: size, popularity, and chance."""


def control_scores(candidate: TeacherCandidate, seed: int) -> dict[str, float]:
    """Every control score of a candidate; the higher, the earlier a ranking by it would list the candidate.

    Args:
        candidate: one without a number of parameters or of downloads has no such score.
        seed: of the random control, which depends on it and on the name of the model.

    Example:
        >>> scores = control_scores(TeacherCandidate("org/model", "sha", parameters=1000), seed=0)
        >>> sorted(scores), scores["parameters"]
        (['parameters', 'random'], 1000.0)
    """
    scores = {"random": _random(candidate, seed)}
    if candidate.parameters is not None:
        scores["parameters"] = float(candidate.parameters)
    if candidate.downloads is not None:
        scores["downloads"] = float(candidate.downloads)
    return scores


def _random(candidate: TeacherCandidate, seed: int) -> float:
    digest = hashlib.sha256(f"{seed} {candidate.name}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
