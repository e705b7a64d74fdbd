"""`hf-ctkd publish`: a student's folder to the Hub."""

import argparse

from hf_ctkd.cli.arguments import add_flag, new_parser
from hf_ctkd.publishing import publish


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The flags."""
    parser = new_parser(prog, "Write a student's card from its records, check the folder, and push it to the Hub.")
    parser.usage = f"{prog} FOLDER REPO_ID [flags]"
    parser.add_argument("folder", metavar="FOLDER", help="what `hf-ctkd distill` wrote")
    parser.add_argument("repo_id", metavar="REPO_ID", help="owner/name on the Hub; made if it is not there")
    add_flag(parser, "public", action="store_true", help="show it to everybody, not to its owner alone")
    add_flag(parser, "token", help="access token; the stored login or $HF_TOKEN if not given")
    add_flag(parser, "commit_message", help="first line of the commit")
    add_flag(parser, "overwrite_card", action="store_true", help="replace a README.md that somebody else wrote")
    return parser


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


def what_is_kept(arguments: argparse.Namespace) -> str:
    """What an interrupted run leaves behind."""
    return f"{arguments.folder} is as it was, and no commit was made on the Hub unless it says so. Run it again."
