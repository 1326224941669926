"""Parses a page as a browser does: its elements, their attributes, its text."""

from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Element:
    """One start tag, and the text up to the next tag."""

    name: str
    attributes: dict[str, str]
    text: str = ""


@dataclass
class Document:
    """A parsed page."""

    elements: list[Element] = field(default_factory=list[Element])
    text: str = ""

    def named(self, name: str) -> list[Element]:
        return [element for element in self.elements if element.name == name]

    @property
    def sections(self) -> set[str]:
        return {element.attributes["id"] for element in self.named("section")}


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.document = Document()
        self._is_inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        attributes = {name: value or "" for name, value in attrs}
        self.document.elements.append(Element(tag, attributes))
        self._is_inside = True

    def handle_data(self, data: str) -> None:
        self.document.text += data
        if self._is_inside:
            self.document.elements[-1].text += data

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 (HTMLParser names it)
        self._is_inside = False


def parse(page: str) -> Document:
    """Read a page as a browser does, with character references resolved."""
    parser = _Parser()
    parser.feed(page)
    parser.close()
    return parser.document
