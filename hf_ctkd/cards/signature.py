"""The comment by which a card is known to be ours, and untouched by hand since."""

import hashlib
import re
from dataclasses import dataclass

# At the start of a line: metadata, which comes first, may hold a name that looks the same, but never there.
_MARK = re.compile(
    r"^<!-- hf_ctkd card(?: of (?P<repo>[\w./-]+))?, digest (?P<digest>[0-9a-f]{16})\b[^\n]*-->$", re.MULTILINE
)
_BLANK = "0" * 16


@dataclass(frozen=True)
class CardSignature:
    """What a card says of itself.

    Args:
        repo_id: repository that the card was rendered for; None for a folder.
        untouched: whether its text is still the one that was rendered.
    """

    repo_id: str | None
    untouched: bool

    @classmethod
    def read(cls, text: str) -> "CardSignature | None":
        """The signature of a card; None when the card is somebody else's."""
        match = _MARK.search(text)
        if match is None:
            return None
        return cls(match["repo"], _digest(_with_digest(text, match, _BLANK)) == match["digest"])


def blank_signature(repo_id: str | None) -> str:
    """The comment that `seal` completes."""
    of = "" if repo_id is None else f" of {repo_id}"
    return (
        f"<!-- hf_ctkd card{of}, digest {_BLANK}: rendered from records; a card changed by hand is not overwritten -->"
    )


def seal(text: str) -> str:
    """A card with the digest of its own text in its signature."""
    match = _MARK.search(text)
    return text if match is None else _with_digest(text, match, _digest(text))


def _with_digest(text: str, match: re.Match[str], digest: str) -> str:
    return text[: match.start("digest")] + digest + text[match.end("digest") :]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
