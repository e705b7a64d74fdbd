"""How the models that a command names are fetched and loaded."""

from hf_ctkd.cli.arguments import LoadingArguments, TeacherLoadingArguments, whole_bytes
from hf_ctkd.teachers import LoadOptions


def load_options(arguments: LoadingArguments, *, token: str | None, seed: int = LoadOptions.seed) -> LoadOptions:
    """How models are fetched and loaded.

    Args:
        arguments: what may be loaded.
        token: of the Hub.
        seed: of random weights.
    """
    template = LoadOptions.zero_shot_template
    if isinstance(arguments, TeacherLoadingArguments):
        template = arguments.zero_shot_template
    return LoadOptions(
        allow_pickle=arguments.allow_pickle,
        trust_remote_code=arguments.trust_remote_code,
        max_bytes=whole_bytes(arguments.max_bytes),
        timeout=arguments.timeout,
        zero_shot_template=template,
        seed=seed,
        token=token,
    )
