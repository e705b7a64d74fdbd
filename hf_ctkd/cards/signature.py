"""The comment in a card that tells whether hf_ctkd wrote it and whether it was edited since."""

import hashlib
import re
from dataclasses import dataclass

# At the start of a line: metadata comes first and may hold a name that looks like a signature, but never there.
_SIGNATURE = re.compile(
    r"^<!-- hf_ctkd card(?: of (?P<repo>[\w./-]+))?, digest (?P<digest>[0-9a-f]{16})\b[^\n]*-->$", re.MULTILINE
)
_BLANK = "0" * 16


@dataclass(frozen=True)
class CardSignature:
    """The signature of a card.

    Args:
        repo_id: repository that the card was rendered for; None for a folder.
        untouched: whether its text is as it was rendered.
    """

    repo_id: str | None
    untouched: bool

    @classmethod
    def read(cls, text: str) -> "CardSignature | None":
        """The signature of a card; None when hf_ctkd did not write it."""
        match = _SIGNATURE.search(text)
        if match is None:
            return None
        return cls(match["repo"], _digest(_with_digest(text, match, _BLANK)) == match["digest"])


def blank_signature(repo_id: str | None) -> str:
    """The comment that `seal` completes."""
    of = "" if repo_id is None else f" of {repo_id}"
    return f"<!-- hf_ctkd card{of}, digest {_BLANK}: rendered from records; edited by hand, it is not overwritten -->"


def seal(text: str) -> str:
    """A card with the digest of its own text in its signature."""
    match = _SIGNATURE.search(text)
    return text if match is None else _with_digest(text, match, _digest(text))


def _with_digest(text: str, match: re.Match[str], digest: str) -> str:
    return text[: match.start("digest")] + digest + text[match.end("digest") :]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
