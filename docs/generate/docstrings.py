"""The extension of griffe that hands mkdocstrings our docstrings in its own dialect, with links to equations."""

from typing import Any

import griffe

from docs.generate.sections import as_markdown, with_equation


class Docstrings(griffe.Extension):
    """Rewrites every docstring after it was read from the source."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:  # noqa: ANN401 (as griffe calls it)
        """See `griffe.Extension.on_object`."""
        if obj.docstring is not None:
            markdown = as_markdown(obj.docstring.value)
            described = obj.is_class or obj.is_function
            obj.docstring.value = with_equation(markdown, obj.path) if described else markdown
