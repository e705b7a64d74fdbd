"""What a card says of the student's probabilities: the calibration error, and the picture that shows where it errs."""

from hf_ctkd.cards.markdown import number
from hf_ctkd.records import DistillationRecord, Reliability


def calibration_text(record: DistillationRecord) -> str:
    """The calibration error, how it is computed and in which direction the student errs; empty where it is not known.

    Args:
        record: how the student was made and what came out.
    """
    measured = record.reliability
    if measured is None or not record.results:
        return ""
    return _of_rows(measured) if record.task.words.one_class_a_row else _of_decisions(measured)


def calibration_alternative(record: DistillationRecord) -> str:
    """What stands in the place of the reliability diagram where pictures are not shown; empty without one.

    Args:
        record: how the student was made and what came out.
    """
    measured = record.reliability
    if measured is None:
        return ""
    highest = measured.bins[-1]
    one_class = record.task.words.one_class_a_row
    accuracy, confidence = ("accuracy", "confidence") if one_class else ("share of rows with the class", "probability")
    return (
        f"Reliability diagram: {accuracy} against {confidence} in {len(measured.bins)} bins. The one of highest "
        f"{confidence} holds {highest.count:,} of {measured.decisions:,} with {confidence} {highest.confidence:.2f} "
        f"and {accuracy} {highest.accuracy:.2f}"
    )


def _of_rows(measured: Reliability) -> str:
    gap = measured.confidence - measured.accuracy
    distance = "within 0.001 of" if abs(gap) < 1e-3 else f"{number(abs(gap))} {'above' if gap > 0 else 'below'}"
    return (
        f"Expected calibration error: **{number(measured.error)}** on {measured.decisions:,} rows; exactly right "
        f"probabilities would show about {number(measured.error_by_chance)} by chance. It is the gap between "
        "confidence, the probability of the predicted class, and accuracy, as a mean over "
        f"{measured.bin_count} bins of equal width, each weighted by its rows. On average confidence is "
        f"{distance} accuracy."
    )


def _of_decisions(measured: Reliability) -> str:
    return (
        f"Expected calibration error: **{number(measured.error)}** on {measured.decisions:,} decisions, one for each "
        "row and class. It is the gap between the probability of a class and the share of rows that have it, as a mean "
        f"over {measured.bin_count} bins of equal width, each weighted by its decisions."
    )
