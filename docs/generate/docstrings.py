"""The extension of griffe that hands mkdocstrings our docstrings in its own dialect."""

from typing import Any

import griffe

from docs.generate.sections import as_markdown


class Docstrings(griffe.Extension):
    """Rewrites every docstring after it was read from the source."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:  # noqa: ANN401 (as griffe calls it)
        """See `griffe.Extension.on_object`."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
