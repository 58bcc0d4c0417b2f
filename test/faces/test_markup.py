"""Markup: escaped once, closed, readable without a script."""

import xml.etree.ElementTree as ET

from face_data import HOSTILE

from cubicweb_leakwatch.views.markup import Cell, Column, Html, element, join, table, text


def test_text_is_escaped_once() -> None:
    """And what is markup already stays as it is."""
    assert text('<a href="x">&') == "&lt;a href=&quot;x&quot;&gt;&amp;"
    assert text(text("<")) == "&lt;"


def test_attributes_are_escaped() -> None:
    """A name cannot leave its attribute."""
    assert element("a", "x", title='" onclick="alert(1)') == '<a title="&quot; onclick=&quot;alert(1)">x</a>'


def test_void_tags_are_closed() -> None:
    """CubicWeb's pages are parsed as XML."""
    assert element("input", type="hidden", name="a", value="b") == '<input type="hidden" name="a" value="b"/>'


def test_hostile_text_stays_one_valid_text_node() -> None:
    """No script, no control character that XML 1.0 forbids."""
    tree = ET.fromstring(element("p", HOSTILE))
    assert len(tree) == 0
    assert "<script>" in (tree.text or "")
    assert "\\x1b" in (tree.text or "")


def test_nothing_is_left_out_by_name() -> None:
    """``None`` content and attributes vanish; zero and the empty text do not."""
    assert element("td", None, 0, class_=None, data_value=0) == '<td data-value="0">0</td>'
    assert join(["a", None, "b"], ", ") == "a, b"


def test_a_table_is_a_table() -> None:
    """Caption, headers with scope and unit, numbers on the right, the raw value for sorting."""
    columns = (Column("Type"), Column("Size", "KiB", number=True))
    tree = ET.fromstring(table("Types", columns, [["a.B", Cell("1.5", 1536, "lw-grows")]]))
    assert tree.get("tabindex") == "0"
    assert tree.findtext("table/caption") == "Types"
    assert [(head.get("scope"), head.text) for head in tree.iter("th")] == [
        ("col", "Type"),
        ("col", "Size (KiB)"),
        ("row", "a.B"),
    ]
    cell = tree.find("table/tbody/tr/td")
    assert cell is not None
    assert (cell.get("class"), cell.get("data-value"), cell.text) == ("lw-number lw-grows", "1536", "1.5")


def test_a_row_of_the_wrong_length_is_a_mistake() -> None:
    """Better no page than numbers under the wrong header."""
    try:
        table("x", (Column("a"),), [["b", "c"]])
    except ValueError:
        return
    raise AssertionError("a row with a cell too many was accepted")


def test_html_is_not_made_by_accident() -> None:
    """Joining markup with plain text gives plain text, which is escaped again."""
    assert not isinstance(Html("<b/>") + "<script>", Html)
