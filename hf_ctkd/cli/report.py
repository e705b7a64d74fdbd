"""`hf-ctkd report`: a ranking as one HTML page."""

from pathlib import Path

from hf_ctkd.cards import PageSection, write_page
from hf_ctkd.cards.page import PAGE_MARK
from hf_ctkd.cli.arguments import ParsedCommand, ReportArguments
from hf_ctkd.cli.outputs import claim_new_file
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import DistillationRecord, TeacherRanking


def run(parsed: ParsedCommand[ReportArguments]) -> dict[str, str]:
    """Read the records, write the page, name it."""
    arguments = parsed.arguments
    output = Path(arguments.output)
    record = None
    ranking = TeacherRanking.load(parsed.positionals["ranking"])
    if arguments.student is not None:
        record = _record(Path(arguments.student), ranking)
    claim_new_file(output, "--output", overwrite=arguments.overwrite or _is_page(output))
    write_page(output, [PageSection(ranking, record=record)], title="Which teacher to distill from")
    print(f"Written to {output}. Open it in a browser; it loads nothing from elsewhere.")
    return {"page": str(output)}


def _record(folder: Path, ranking: TeacherRanking) -> DistillationRecord:
    record = DistillationRecord.load(folder / "distillation.json")
    ranked = {teacher.candidate.revision for teacher in ranking.scored}
    if record.teachers and not any(teacher.candidate.revision in ranked for teacher in record.teachers):
        raise InvalidArgumentError(
            f"`--student` {folder} was distilled from {record.teachers[0].candidate.name!r}, which is not in the "
            "ranking. Name the ranking that it was chosen by."
        )
    return record


def _is_page(path: Path) -> bool:
    """Whether a file is a page that this command wrote, so that it may be replaced."""
    if not path.is_file() or path.is_symlink():
        return False
    with path.open("rb") as file:
        return file.read(len(PAGE_MARK)) == PAGE_MARK.encode()
