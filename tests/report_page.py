"""A report as the tests of reports read it: parsed strictly, with what it may be made of."""

import html.parser

VOID = {"meta", "wbr", "circle", "path", "rect", "polygon", "br"}
TAGS = {
    "html",
    "head",
    "title",
    "style",
    "body",
    "main",
    "h1",
    "h2",
    "h3",
    "p",
    "code",
    "div",
    "section",
    "span",
} | VOID
TAGS |= {"figure", "figcaption", "svg", "text", "ul", "li", "dl", "dt", "dd", "strong"}
TAGS |= {"table", "thead", "tbody", "tr", "th", "td"}


class Page(html.parser.HTMLParser):
    """A parsed report: all tags with their attributes, the text, the tables; unbalanced tags fail."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.attributes, self.text, self.tables, self.items = [], [], "", [], []
        self._open = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag in ("dt", "dd", "h1", "title", "p"):
            self.items.append([tag, ""])
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" in self._open:
            return
        self.text += data
        if "td" in self._open or "th" in self._open:
            self.tables[-1][-1][-1] += data
        elif self.items and {"dt", "dd", "h1", "title", "p"} & set(self._open):
            self.items[-1][1] += data

    @property
    def facts(self):
        names = [text for tag, text in self.items if tag == "dt"]
        return dict(zip(names, (text for tag, text in self.items if tag == "dd"), strict=True))

    def only(self, tag):
        (text,) = [text for found, text in self.items if found == tag]
        return text

    @property
    def best_table(self):
        return next((table for table in self.tables if "rank" in table[0]), None)
