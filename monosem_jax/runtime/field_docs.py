"""What each field of a configuration means: the string literal right below it in the source of its class."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import textwrap


@functools.cache
def field_docs(cls: type) -> dict[str, str]:
    """field -> its attribute docstring, on one line; inherited fields included, the nearest class first.

    A field without one is absent. Classes whose source cannot be read (made at run time) have none.
    """
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        found |= _own_docs(base)
    return found


def _own_docs(cls: type) -> dict[str, str]:
    try:
        module = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError):
        return {}
    body = module.body[0].body if isinstance(module.body[0], ast.ClassDef) else []
    return {
        field.target.id: " ".join(literal.value.value.split())
        for field, literal in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(literal, ast.Expr)
        and isinstance(literal.value, ast.Constant)
        and isinstance(literal.value.value, str)
    }
