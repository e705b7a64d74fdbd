"""`hf-ctkd publish`: a student's folder to the Hub."""

import argparse

from hf_ctkd.cards import publish
from hf_ctkd.cli.arguments import add_flag


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.usage = f"{parser.prog} FOLDER REPO_ID [flags]"
    parser.add_argument("folder", metavar="FOLDER", help="what `hf-ctkd distill` wrote")
    parser.add_argument("repo_id", metavar="REPO_ID", help="owner/name on the Hub; made if it is not there")
    add_flag(
        parser,
        "public",
        action="store_true",
        help="show it to everybody, not to its owner alone; a repository that is there must be public already",
    )
    add_flag(parser, "token", help="access token; the stored login or $HF_TOKEN if not given")
    add_flag(parser, "commit_message", help="first line of the commit")
    add_flag(parser, "overwrite_card", action="store_true", help="replace a README.md that somebody else wrote")


def run(arguments: argparse.Namespace) -> None:
    """Publish."""
    address = publish(
        arguments.folder,
        arguments.repo_id,
        private=not arguments.public,
        token=arguments.token,
        commit_message=arguments.commit_message,
        overwrite_card=arguments.overwrite_card,
    )
    print(f"Published {'for everybody' if arguments.public else 'for you alone'}: {address}")
