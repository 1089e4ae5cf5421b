"""Templates → HTML. Whatever a template prints is made visible and escaped, unless it is markup of our own."""

from __future__ import annotations

import functools
import pathlib
from typing import TYPE_CHECKING, Any

from monosem_jax.report.text import visible
from monosem_jax.runtime.errors import BadInput

if TYPE_CHECKING:
    import jinja2
    import markupsafe

TEMPLATES = pathlib.Path(__file__).parent / "templates"


def require_jinja() -> None:
    """Raises BadInput when Jinja2, which only the report needs, is not installed."""
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise BadInput("the report needs Jinja2: pip install 'monosem_jax[report]'") from None


def render(template: str, **values: Any) -> str:
    """A template of this package, filled in."""
    return environment().get_template(template).render(values)


def own_markup(text: str) -> markupsafe.Markup:
    """HTML that this package made itself: templates print it as it is."""
    import markupsafe

    return markupsafe.Markup(text)


@functools.cache
def environment() -> jinja2.Environment:
    """How templates are read: everything is escaped, and a name that is not given is an error."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_visible,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


def _visible(value: Any) -> Any:
    """Plain text with hidden characters made visible; markup (a subclass of str) and numbers as they are."""
    return visible(value) if type(value) is str else value
