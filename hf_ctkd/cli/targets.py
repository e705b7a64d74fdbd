"""`hf-ctkd targets`: the teachers' soft targets as a column of the data set, for any other trainer."""

from pathlib import Path

from accelerate import PartialState

from hf_ctkd.cards.metadata import is_repo_id
from hf_ctkd.cli.arguments import ParsedCommand, TargetsArguments
from hf_ctkd.cli.datasets import Rows
from hf_ctkd.cli.loading import load_options
from hf_ctkd.cli.methods import build_loss
from hf_ctkd.cli.outputs import claim_folder, claim_new_file
from hf_ctkd.cli.teachers import named_teachers
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import RowTransportLoss
from hf_ctkd.records import TeacherRanking
from hf_ctkd.training.soft_targets import PARQUET, SoftTargets, card_path, compute_soft_targets


def run(parsed: ParsedCommand[TargetsArguments]) -> dict[str, object] | None:
    """Compute, save, push."""
    arguments = parsed.arguments
    _claim(arguments)
    name = arguments.loss or RowTransportLoss.name
    reads_student = name == RowTransportLoss.name and arguments.student is not None
    loss = build_loss(name, arguments.loss_settings, {"input_features": "student"} if reads_student else {})
    ranking = None if arguments.ranking is None else TeacherRanking.load(arguments.ranking)
    targets = compute_soft_targets(
        Rows.of(arguments, seed=arguments.seed).load(arguments.split, label_column=arguments.label_column),
        named_teachers(arguments, ranking),
        loss,
        student=arguments.student,
        column=arguments.column,
        input_column=arguments.input_column,
        label_column=arguments.label_column,
        skip_bad_rows=arguments.skip_bad_rows,
        batch_size=arguments.batch_size,
        cache_dir=arguments.cache_dir,
        seed=arguments.seed,
        options=load_options(arguments, token=arguments.token),
        progress=not arguments.quiet,
    )
    written = _write(targets, arguments) if PartialState().is_main_process else None
    PartialState().destroy_process_group()
    return written


def _write(targets: SoftTargets, arguments: TargetsArguments) -> dict[str, object]:
    card, address, rows = targets.save(arguments.output), None, len(targets.dataset)
    print(f"Soft targets of {rows:,} rows in column {arguments.column!r} saved in {arguments.output}.")
    print(targets.record.sources)
    for remark in targets.record.loss.remarks:
        print(remark)
    print(f"Card: {card}")
    if arguments.push_to_hub is not None:
        address = targets.push(arguments.push_to_hub, private=not arguments.public, token=arguments.token)
        print(f"Pushed {'for everybody' if arguments.public else 'for you alone'}: {address}")
    remarks = list(targets.record.loss.remarks)
    return {
        "output": arguments.output,
        "column": arguments.column,
        "rows": rows,
        "strength": targets.record.strength,
        "input_share": targets.record.loss.input_share,
        "remarks": remarks,
        "card": str(card),
        "address": address,
    }


def _claim(arguments: TargetsArguments) -> None:
    repo_id = arguments.push_to_hub
    if repo_id is not None and not is_repo_id(repo_id if "/" in repo_id else f"owner/{repo_id}"):
        raise InvalidArgumentError(f"`--push_to_hub` must be OWNER/NAME or NAME, got {repo_id!r}.")
    output = Path(arguments.output)
    if output.suffix == PARQUET:
        for path in (output, card_path(output)):
            claim_new_file(path, "--output", overwrite=arguments.overwrite)
    else:
        inputs = [("--dataset", arguments.dataset), *(("--teachers", teacher) for teacher in arguments.teachers)]
        inputs += [] if arguments.student is None else [("--student", arguments.student)]
        claim_folder(output, "--output", command="targets", overwrite=arguments.overwrite, inputs=inputs)
