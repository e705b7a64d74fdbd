"""Which licence binds a student: the most restrictive among its teachers and the model that it started from."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Restriction(enum.IntEnum):
    """How much a licence restricts the users of a model, from least to most; an unknown licence restricts most."""

    PERMISSIVE = 0
    WEAK_COPYLEFT = 1
    COPYLEFT = 2
    RESTRICTED_USE = 3
    NON_COMMERCIAL = 4
    NO_DERIVATIVES = 5
    UNKNOWN = 6


_BY_RESTRICTION = {
    Restriction.PERMISSIVE: (
        "apache-2.0 mit bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear isc zlib bsl-1.0 ncsa postgresql unlicense "
        "wtfpl cc0-1.0 pddl cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 afl-3.0 artistic-2.0 ecl-2.0 etalab-2.0 odc-by "
        "c-uda cdla-permissive-1.0 cdla-permissive-2.0 open-mdw"
    ),
    Restriction.WEAK_COPYLEFT: "lgpl lgpl-2.1 lgpl-3.0 lgpl-lr mpl-2.0 epl-1.0 epl-2.0 lppl-1.3c ms-pl ofl-1.1",
    Restriction.COPYLEFT: (
        "gpl gpl-2.0 gpl-3.0 agpl-3.0 osl-3.0 eupl-1.1 eupl-1.2 cc-by-sa-3.0 cc-by-sa-4.0 odbl gfdl cdla-sharing-1.0"
    ),
    Restriction.RESTRICTED_USE: (
        "openrail openrail++ bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m "
        "llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 gemma"
    ),
    Restriction.NON_COMMERCIAL: (
        "cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 deepfloyd-if-license "
        "fair-noncommercial-research-license intel-research apple-amlr"
    ),
    Restriction.NO_DERIVATIVES: "cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0",
}
_RESTRICTIONS = {name: kind for kind, names in _BY_RESTRICTION.items() for name in names.split()}

_MEANING = {
    Restriction.PERMISSIVE: "permissive: keep the notices",
    Restriction.WEAK_COPYLEFT: "weak copyleft: changes to the model itself must be shared under the same licence",
    Restriction.COPYLEFT: "copyleft: derived work must be shared under the same licence",
    Restriction.RESTRICTED_USE: "some uses are forbidden: read its terms",
    Restriction.NON_COMMERCIAL: "no commercial use",
    Restriction.NO_DERIVATIVES: "derived work must not be shared: ask the authors before you publish",
    Restriction.UNKNOWN: "hf_ctkd does not know its terms: read them, or ask the authors",
}

NOT_STATED = "not stated: ask the authors"


@dataclass(frozen=True)
class BindingLicense:
    """The most restrictive licence of several models.

    Args:
        license: its identifier; None when a model states none.
        restriction: its kind.
        models: names of the models under it.
    """

    license: str | None
    restriction: Restriction
    models: tuple[str, ...]

    @property
    def name(self) -> str:
        """The identifier, or a note that there is none."""
        return self.license or NOT_STATED

    @property
    def meaning(self) -> str:
        """Its restriction in a few words."""
        return _MEANING[self.restriction] if self.license else "without a licence, no use is permitted"

    @property
    def known(self) -> bool:
        """Whether the identifier is in the table of this file."""
        return self.license in _RESTRICTIONS


def restriction(license: str | None) -> Restriction:
    """The restriction of a licence; `UNKNOWN` for None and for identifiers outside the table (`other`, `cc`).

    Example:
        >>> restriction("mit") < restriction("gpl-3.0") < restriction("cc-by-nc-4.0") < restriction(None)
        True
    """
    return Restriction.UNKNOWN if license is None else _RESTRICTIONS.get(_normal(license), Restriction.UNKNOWN)


def most_restrictive(licenses: Iterable[tuple[str, str | None]]) -> BindingLicense | None:
    """The licence that binds a model made from several others.

    Use it to find the terms under which a student may be published. It compares kinds of licences only. Whether two
    licences of one kind may be combined is a question for a lawyer.

    Args:
        licenses: pairs of a model's name and its licence identifier, None where it states none; the first of
            equals wins, and no statement at all outranks an identifier that is not known.

    Returns:
        None without any model.
    """
    stated = [(name, _normal(license) if license else None) for name, license in licenses]
    stated = [(name, None if license in ("", "unknown") else license) for name, license in stated]
    if not stated:
        return None
    _, worst = max(stated, key=lambda pair: (restriction(pair[1]), pair[1] is None))
    models = dict.fromkeys(name for name, license in stated if license == worst)  # a student may be its own teacher
    return BindingLicense(worst, restriction(worst), tuple(models))


def _normal(license: str) -> str:
    return license.strip().lower()
