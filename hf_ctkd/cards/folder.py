"""A student's folder: its records, the card written from them, and which of its files are published."""

import json
import re
from pathlib import Path

from safetensors import SafetensorError, safe_open

from hf_ctkd.cards.card import render_card
from hf_ctkd.cards.figures import FIGURES, draw_figures
from hf_ctkd.cards.metadata import EVAL_RESULTS, is_repo_id, write_eval_results
from hf_ctkd.cards.signature import CardSignature
from hf_ctkd.errors import MissingExtraError, PublishingError
from hf_ctkd.hub import push_refusal
from hf_ctkd.hub.timm import is_timm, timm_label_names
from hf_ctkd.records import DistillationRecord, TeacherRanking, write_text

RECORD = "distillation.json"
RANKING = "ranking.json"
CARD = "README.md"
INDEX = "model.safetensors.index.json"

ADAPTER = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

_WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors|adapter_model\.safetensors")
_PROCESSOR = re.compile(r"(pre|image_|video_)?processor_config\.json")
_TOKENIZER = re.compile(r"tokenizer(_config)?\.json|vocab\.(json|txt)|spiece\.model|sentencepiece\.bpe\.model")
_BESIDE = re.compile(
    r"config\.json|adapter_config\.json|generation_config\.json|model\.safetensors\.index\.json|special_tokens_map\.json|added_tokens\.json"
    r"|merges\.txt|tokenizer\.model|bpe\.codes|chat_template\.jinja|(LICENSE|NOTICE)(\.md|\.txt)?|\.gitattributes"
)
_PICKLES = "pytorch_model*.bin"


def read_records(folder: Path | str) -> tuple[DistillationRecord, TeacherRanking | None]:
    """The records in a student's folder; the ranking is optional.

    Raises:
        InvalidArgumentError: if `distillation.json` is missing, or a record cannot be read.
    """
    folder = Path(folder)
    ranking = folder / RANKING
    return DistillationRecord.load(folder / RECORD), TeacherRanking.load(ranking) if ranking.exists() else None


def write_card(
    folder: Path | str,
    repo_id: str | None = None,
    *,
    record: DistillationRecord | None = None,
    ranking: TeacherRanking | None = None,
    overwrite_card: bool = False,
) -> Path:
    """Write README.md, its figures and `.eval_results` into a student's folder.

    Use it to publish to a folder, without a network; `publish` calls it before it pushes.

    Args:
        folder: holds `distillation.json`, and `ranking.json` if there was a selection.
        repo_id: repository that the student will be published as; None for a folder.
        record: what `distillation.json` holds, when the caller has it; read from the folder when None.
        ranking: what `ranking.json` holds, when the caller passes `record`; None if there was no selection.
        overwrite_card: replace a README.md that hf_ctkd did not write, or that was changed by hand.

    Returns:
        The card.

    Raises:
        PublishingError: if there is no `distillation.json`, or a README.md would be lost.
        InvalidArgumentError: if a record cannot be read, `repo_id` is no `owner/name`, or the folder cannot be written.
    """
    folder = Path(folder)
    if not (folder / RECORD).is_file():
        raise PublishingError(
            f"{folder} has no {RECORD}, from which the card is rendered. "
            "Name a folder that `DistillationTrainer` or `hf-ctkd distill` wrote."
        )
    card = folder / CARD
    if card.exists() and not overwrite_card:
        _check_signature(card)
    if record is None:
        record, ranking = read_records(folder)
    text = draw_card(folder, record, ranking, repo_id)
    write_eval_results(folder, record)
    return write_text(card, text)


def draw_card(
    folder: Path | str, record: DistillationRecord, ranking: TeacherRanking | None = None, repo_id: str | None = None
) -> str:
    """Draw the figures into a student's folder and render its card, without writing the card.

    Args:
        folder: receives the figures.
        record: how the student was made and what came out.
        ranking: how its teachers were chosen, if there was a selection.
        repo_id: repository that the student is published as.

    Raises:
        InvalidArgumentError: if the folder cannot be written.
    """
    try:
        figures = draw_figures(folder, record, ranking)
    except MissingExtraError:
        figures = ()  # the card tells its readers why
    return render_card(record, ranking, repo_id=repo_id, figures=figures)


def publishable_files(folder: Path | str) -> list[str]:
    """The files of a student's folder that are published, in order of name.

    It is an allow-list: configuration, safetensors weights of the model, processor or tokenizer, the card with the
    figures that it shows, the records, evaluation results, a licence. Pickles, checkpoints, training state, weights of
    the loss, logs and any other file are not published.

    Args:
        folder: where the student was saved.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("config.json", "model.safetensors", "training_args.bin", "loss.safetensors"):
        ...     _ = (folder / name).write_text("")
        >>> publishable_files(folder)
        ['config.json', 'model.safetensors']
    """
    folder = Path(folder)
    top = [path.name for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    chosen = {name for name in top if name in (CARD, RECORD, RANKING) or _belongs_to_model(name)}
    card = (folder / CARD).read_text(encoding="utf-8", errors="replace") if CARD in chosen else ""
    chosen.update(name for name in FIGURES if f"({name})" in card and (folder / name).is_file())
    chosen.update(f"{EVAL_RESULTS}/{path.name}" for path in (folder / EVAL_RESULTS).glob("*.yaml") if path.is_file())
    return sorted(name for name in chosen if push_refusal(name) is None)


def check_folder(folder: Path, record: DistillationRecord) -> None:
    """Refuse a folder from which others could not load the student.

    Args:
        folder: where the student was saved.
        record: how the student was made, for its task and its classes.

    Raises:
        PublishingError: if configuration, weights, processor or tokenizer are missing or cannot be loaded, weights are
            cut off, foreign or not finite, or the model has another number of classes than the record.
    """
    from hf_ctkd.cards.loading import check_loads  # imports torch, which a card does not need

    names = publishable_files(folder)
    if "config.json" not in names:
        raise PublishingError(f"{folder} has no config.json. Save the student there with `save_pretrained`.")
    _check_weights(folder, names)
    _check_adapter(folder, names)
    config = _read_json(folder / "config.json")
    if not is_timm(config):  # which has its preprocessing in there too
        _check_preprocessing(folder, names, record.task.modality)
    _check_classes(folder, config, record)
    if ADAPTER_WEIGHTS not in names:  # an adapter loads only after a download of what it was trained on
        check_loads(folder, record)


def _check_signature(card: Path) -> None:
    signature = CardSignature.read(card.read_text(encoding="utf-8", errors="replace"))
    if signature is None or not signature.untouched:
        origin = "was not written by hf_ctkd" if signature is None else "was changed by hand"
        raise PublishingError(
            f"{card} {origin}, and a new card would replace it. Move it, or pass `overwrite_card=True`."
        )


def _belongs_to_model(name: str) -> bool:
    return any(pattern.fullmatch(name) for pattern in (_WEIGHTS, _PROCESSOR, _TOKENIZER, _BESIDE))


def _check_weights(folder: Path, names: list[str]) -> None:
    weights = [name for name in names if _WEIGHTS.fullmatch(name)]
    if not weights:
        pickles = sorted(path.name for path in folder.glob(_PICKLES))
        instead = f", only {pickles[0]}, a pickle that others should not have to trust" if pickles else ""
        raise PublishingError(
            f"{folder} has no model.safetensors{instead}. Save the student there with `save_pretrained`."
        )
    if INDEX in names and "model.safetensors" not in names:
        expected = set(_read_json(folder / INDEX).get("weight_map", {}).values())
        missing = sorted(expected - set(weights))
        if missing:
            raise PublishingError(f"{folder} lacks {missing[0]}, which {INDEX} names. Save the student again.")
    for name in weights:
        try:
            with safe_open(folder / name, framework="numpy"):
                pass
        except SafetensorError as error:
            raise PublishingError(f"{folder / name} is broken ({error}). Save the student again.") from error


def _check_adapter(folder: Path, names: list[str]) -> None:
    """An adapter is of use to others only with the weights that it was trained on."""
    if ADAPTER_WEIGHTS not in names:
        return
    base = _read_json(folder / ADAPTER).get("base_model_name_or_path") if ADAPTER in names else None
    if not isinstance(base, str) or not is_repo_id(base) or Path(base).exists():
        raise PublishingError(
            f"{folder} holds an adapter, but what it was trained on is no model of the Hub. Save the student as one "
            "model with `merge_adapter=True`."
        )


def _check_preprocessing(folder: Path, names: list[str], modality: str | None) -> None:
    processor = any(_PROCESSOR.fullmatch(name) for name in names)
    tokenizer = any(_TOKENIZER.fullmatch(name) for name in names)
    if modality == "image" and not processor:
        raise PublishingError(
            f"{folder} has no image processor (preprocessor_config.json). Save it there with `save_pretrained`."
        )
    if modality == "text" and not tokenizer:
        raise PublishingError(f"{folder} has no tokenizer (tokenizer.json). Save it there with `save_pretrained`.")
    if not processor and not tokenizer:
        raise PublishingError(f"{folder} has neither processor nor tokenizer. Save it there with `save_pretrained`.")


def _check_classes(folder: Path, config: dict, record: DistillationRecord) -> None:
    names = timm_label_names(config) if is_timm(config) else config.get("id2label")
    if names is not None and len(names) != len(record.task.label_names):
        raise PublishingError(
            f"The model in {folder} has {len(names)} classes but {RECORD} lists {len(record.task.label_names)}. "
            "Put the student and its own record into one folder."
        )


def _read_json(path: Path) -> dict:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise PublishingError(f"{path} is not valid JSON: {error}. Save the student again.") from error
    if not isinstance(values, dict):
        raise PublishingError(f"{path} must hold a JSON object. Save the student again.")
    return values
