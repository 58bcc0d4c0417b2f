"""Classes are named without running their code."""

import socket

from cubicweb_leakwatch.heap.typenames import has_finalizer, type_name


class Meta(type):
    """A metaclass that forbids every look at its classes."""

    def __getattribute__(cls, name: str) -> object:
        raise AssertionError(f"{name} was asked of the class")

    def __hash__(cls) -> int:
        raise AssertionError("the class was hashed")


class Hostile(metaclass=Meta):
    """A class whose attributes cannot be read in the ordinary way."""

    def __del__(self) -> None:
        """Finalize."""


def test_a_class_is_named_by_module_and_qualified_name():
    """The name says where the class is found."""

    class Inner:
        pass

    assert type_name(dict) == "builtins.dict"
    assert type_name(Inner).endswith(".test_a_class_is_named_by_module_and_qualified_name.<locals>.Inner")


def test_a_hostile_metaclass_is_not_asked():
    """Neither the name nor the finalizer is had through the metaclass."""
    assert type_name(Hostile).endswith(".Hostile")
    assert has_finalizer(Hostile)


def test_a_module_name_that_is_no_text_becomes_a_question_mark():
    """A ``__module__`` made of anything else is not called or printed."""
    assert type_name(type("Odd", (), {"__module__": property(lambda self: 1 / 0)})) == "?.Odd"


def test_finalizers_written_in_c_do_not_count():
    """Sockets and generators finalize in C; a subclass with ``__del__`` finalizes in Python."""

    class Mine(socket.socket):
        def __del__(self) -> None:
            pass

    assert not has_finalizer(socket.socket)
    assert not has_finalizer(type(_ for _ in ()))
    assert has_finalizer(Mine)
