"""The meaning of a field is the string below it."""

import dataclasses

from monosem_jax.runtime.field_docs import field_docs


@dataclasses.dataclass(frozen=True)
class Base:
    """Not a field's."""

    first: int = 0
    """The first,
    on two lines."""
    second: int = 0
    """Changed below."""
    third: int = 0

    fourth: str = ""
    # a comment between
    """The fourth."""

    def check(self) -> None:
        """Not a field's."""


@dataclasses.dataclass(frozen=True)
class Derived(Base):
    second: int = 1
    """Its own."""
    first: int = 2
    fifth: float = 0.0
    """The fifth."""


def test_each_field_has_the_string_below_it():
    assert field_docs(Base) == {
        "first": "The first, on two lines.", "second": "Changed below.", "fourth": "The fourth."
    }  # fmt: skip


def test_inherited_fields_are_included_and_the_nearest_class_comes_first():
    assert field_docs(Derived) == {**field_docs(Base), "second": "Its own.", "fifth": "The fifth."}


def test_a_class_without_source_has_none():
    assert field_docs(dataclasses.make_dataclass("Made", [("a", int)])) == {}
