"""`hf-ctkd publish`: a student's folder to the Hub."""

from hf_ctkd.cards import publish
from hf_ctkd.cli.arguments import ParsedCommand, PublishArguments


def run(parsed: ParsedCommand[PublishArguments]) -> dict[str, object]:
    """Publish."""
    arguments = parsed.arguments
    address = publish(
        parsed.positionals["folder"],
        parsed.positionals["repo_id"],
        private=not arguments.public,
        token=arguments.token,
        commit_message=arguments.commit_message,
        overwrite_card=arguments.overwrite_card,
    )
    print(f"Published {'for everybody' if arguments.public else 'for you alone'}: {address}")
    return {"address": address, "public": arguments.public}
