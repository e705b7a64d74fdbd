"""The teachers that a command names: those of a ranking, or others by name."""

from transformers.utils.logging import get_logger

from hf_ctkd.cli.arguments import TeacherArguments
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import TeacherCandidate, TeacherRanking

logger = get_logger(__name__)


def named_teachers(arguments: TeacherArguments, ranking: TeacherRanking | None) -> list[TeacherCandidate | str]:
    """Teachers by name, or else the best of a ranking or its committee; none where nothing names any.

    A warning in the log repeats the advice of a ranking whose teachers are no better than its baseline.

    Args:
        arguments: which of them.
        ranking: that `--ranking` names.

    Raises:
        InvalidArgumentError: if a committee is asked for without a ranking, or beside other teachers.
        NoTeacherLeftError: if the ranking has no teacher.
    """
    if arguments.committee and (arguments.teachers or ranking is None):
        raise InvalidArgumentError("`--committee` takes the teachers of a `--ranking`: give one, and no `--teachers`.")
    if arguments.teachers or ranking is None:
        return list(arguments.teachers)
    if ranking.advises_no_teacher:
        logger.warning(f"`--ranking` {arguments.ranking}: {ranking.advice} Its teachers are used all the same.")
    return list(ranking.committee() if arguments.committee else ranking.top(arguments.top))
