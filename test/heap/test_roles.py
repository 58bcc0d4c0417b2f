"""The parts that objects of a site play, told by the names of their classes."""

from collections.abc import Callable

from cubicweb_leakwatch.heap.report import gc_report

SITE = """
def made(name, *bases, **body):
    module, _, last = name.rpartition(".")
    return type(last, bases, {"__module__": module, **body})
Base = made("cubicweb.req.RequestSessionAndConnectionBase")
Connection = made("cubicweb.server.session.Connection", Base)
Request = made("cubicweb.pyramid.core.CubicWebPyramidRequest", Base)
Entity = made("cubicweb.entity.Entity")
Person = made("cubicweb_people.entities.Someone", Entity, __regid__="Person")
Node = made("rql.base.BaseNode")
Form = made("cubicweb_web.form.Form")
kept = [Request(), Request(), Person(), Person(), Person(), Entity(), Form()]
kept += [made("cubicweb.rset.ResultSet")(), made("rql.nodes.VariableRef", Node)(), made("rql.stmts.Union", Node)()]
kept.append(made("cubicweb.pyramid.core.Session")())
Operation = made("cubicweb.server.hook.Operation")
kept += [made("cubicweb.hooks.syncschema.AddOp", Operation)(), Operation(), made("cubicweb.server.hook.Hook")()]
for opened in (True, True, False, None):
    kept.append(Connection())
    kept[-1]._open = opened
with_dictionary = Connection()
with_dictionary.__dict__["_open"] = True
kept.append(with_dictionary)
"""


def test_requests_connections_entities_and_the_rest_are_counted(dump_of: Callable[..., str]):
    """Connections by whether they are open, entities by the name of their type; a connection is no request."""
    assert gc_report(dump_of(SITE))["roles"] == {
        "request": 2,
        "connection_open": 3,
        "connection_closed": 2,
        "entity": {"Person": 3, "Entity": 1},
        "rset": 1,
        "rql": 2,
        "form": 1,
        "session": 1,
        "hook": 1,
        "operation": 2,
    }


def test_nothing_of_a_site_is_nothing(dump_of: Callable[..., str]):
    """In another program every role is empty."""
    roles = gc_report(dump_of("x = 1\n"))["roles"]
    assert roles.pop("entity") == {}
    assert set(roles.values()) == {0}
