"""A library's desk: a web application with pages made by the server, and SQLite behind them.

`/api/state` says all there is, `/api/reset` begins anew; nothing else is here for browser-control.
"""

import argparse
import html
import json
import sqlite3
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

BOOKS = [
    ("Dune", "Frank Herbert", 1965),
    ("Emma", "Jane Austen", 1815),
    ("Kim", "Rudyard Kipling", 1901),
    ("Ulysses", "James Joyce", 1922),
    ("Persuasion", "Jane Austen", 1817),
    ("Beloved", "Toni Morrison", 1987),
    ("Solaris", "Stanislaw Lem", 1961),
    ("Middlemarch", "George Eliot", 1871),
    ("Walden", "Henry Thoreau", 1854),
    ("Dracula", "Bram Stoker", 1897),
    ("The Trial", "Franz Kafka", 1925),
    ("The Plague", "Albert Camus", 1947),
    ("Germinal", "Emile Zola", 1885),
    ("Nostromo", "Joseph Conrad", 1904),
    ("Rebecca", "Daphne du Maurier", 1938),
    ("Siddhartha", "Hermann Hesse", 1922),
    ("Orlando", "Virginia Woolf", 1928),
    ("Cranford", "Elizabeth Gaskell", 1853),
    ("The Waves", "Virginia Woolf", 1931),
    ("The Leopard", "Tomasi di Lampedusa", 1958),
    ("Pedro Paramo", "Juan Rulfo", 1955),
    ("Effi Briest", "Theodor Fontane", 1895),
    ("Buddenbrooks", "Thomas Mann", 1901),
    ("Oblomov", "Ivan Goncharov", 1859),
]
READERS = [
    "Ada", "Bela", "Chen", "Dara", "Emil", "Fatima", "Goran", "Hana",
    "Ines", "Jonas", "Kaya", "Lev", "Mira", "Nils", "Omar", "Petra",
]  # fmt: skip
TABLES = """
drop table if exists books; drop table if exists readers;
create table books (title text primary key, author text, year integer, reader text, reserved text);
create table readers (name text primary key, email text);
"""  # fmt: skip
FIELDS = {
    "/books": ("title", "author", "year"),
    "/lend": ("title", "reader"),
    "/reserve": ("title", "reader"),
    "/return": ("title",),
    "/remove": ("title",),
    "/reader": ("name", "email"),
}


class Library:
    """What the library knows, in one file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.reset()

    def ask(self, words: str, *values: object) -> list[dict[str, object]]:
        connection = sqlite3.connect(self._path)
        try:
            connection.row_factory = sqlite3.Row
            with connection:
                return [dict(row) for row in connection.execute(words, values)]
        finally:
            connection.close()

    def reset(self) -> None:
        connection = sqlite3.connect(self._path)
        try:
            with connection:
                connection.executescript(TABLES)
                connection.executemany("insert into books (title, author, year) values (?, ?, ?)", BOOKS)
                readers = [(name, f"{name.lower()}@example.org") for name in READERS]
                connection.executemany("insert into readers values (?, ?)", readers)
        finally:
            connection.close()

    def state(self) -> dict[str, object]:
        return {
            "books": self.ask("select * from books order by title"),
            "readers": self.ask("select * from readers order by name"),
        }

    def change(self, path: str, form: dict[str, str]) -> None:
        title = form.get("title", "")
        if path == "/books":
            self.ask("insert or replace into books (title, author, year) values (?, ?, ?)",
                     title, form["author"], form["year"])  # fmt: skip
        elif path == "/lend":
            self.ask("update books set reader = ? where title = ?", form["reader"], title)
        elif path == "/reserve":
            self.ask("update books set reserved = ? where title = ?", form["reader"], title)
        elif path == "/return":
            self.ask("update books set reader = null where title = ?", title)
        elif path == "/remove":
            self.ask("delete from books where title = ?", title)
        elif path == "/reader":
            self.ask("update readers set email = ? where name = ?", form["email"], form["name"])


def page(title: str, body: str) -> str:
    links = ' <a href="/">Books</a> <a href="/new">New book</a> <a href="/readers">Readers</a>'
    return f"<!doctype html><title>{title}</title><nav>{links}</nav><h1>{title}</h1>{body}"


def field(label: str, name: str, value: object = "", kind: str = "text") -> str:
    return f'<p><label>{label} <input name="{name}" type="{kind}" value="{html.escape(str(value))}"></label>'


def form(action: str, title: object, inside: str, button: str) -> str:
    hidden = f'<input type="hidden" name="title" value="{html.escape(str(title))}">' if title else ""
    return f'<form method="post" action="{action}">{hidden}{inside}<button>{button}</button></form>'


def view(library: Library, path: str, query: dict[str, str]) -> str | None:
    if path == "/":
        rows = "".join(
            f'<li><a href="/book?title={html.escape(str(each["title"]))}">{html.escape(str(each["title"]))}</a>'
            for each in library.ask("select title from books order by title")
        )
        return page("Books", f"<ul>{rows}</ul>")
    if path == "/new":
        inside = field("Title", "title") + field("Author", "author") + field("Year", "year", kind="number")
        return page("New book", form("/books", "", inside, "Add"))
    if path == "/readers":
        readers = library.ask("select * from readers order by name")
        rows = "".join(f'<li><a href="/reader?name={each["name"]}">{each["name"]}</a>' for each in readers)
        return page("Readers", f"<ul>{rows}</ul>")
    if path == "/reader":
        found = library.ask("select * from readers where name = ?", query.get("name", ""))
        inside = "".join(
            f'<input type="hidden" name="name" value="{each["name"]}">' + field("E-mail", "email", each["email"])
            for each in found
        )
        return page(query.get("name", ""), form("/reader", "", inside, "Save")) if found else None
    if path == "/book":
        found = library.ask("select * from books where title = ?", query.get("title", ""))
        return book(found[0], library) if found else None
    return None


def book(each: dict[str, object], library: Library) -> str:
    options = "".join(f"<option>{reader['name']}" for reader in library.ask("select name from readers order by name"))
    readers = f'<label>Reader <select name="reader">{options}</select></label> '
    where = f"lent to {each['reader']}" if each["reader"] else "on the shelf"
    forms = [form("/return", each["title"], "", "Return")] if each["reader"] else []
    if not each["reader"]:
        forms.append(form("/lend", each["title"], readers, "Lend"))
    forms += [form("/reserve", each["title"], readers.replace("Reader", "For"), "Reserve")]
    forms += [form("/remove", each["title"], "", "Remove")]
    about = f"<p>{html.escape(str(each['author']))}, {each['year']}<p>{where}"
    return page(html.escape(str(each["title"])), about + "".join(forms))


class Desk(BaseHTTPRequestHandler):
    library: Library

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        if asked.path == "/health":
            self.answer(200, "{}", "application/json")
        elif asked.path == "/api/state":
            self.answer(200, json.dumps(self.library.state()), "application/json")
        else:
            found = view(self.library, asked.path, dict(parse_qsl(asked.query)))
            self.answer(200 if found else 404, found or page("There is no such page", ""))

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        path = urlsplit(self.path).path
        given = dict(parse_qsl(text))
        if path == "/api/reset":
            self.library.reset()
            self.answer(200, "{}", "application/json")
        elif any(not given.get(name) for name in FIELDS.get(path, ("unknown",))):
            self.answer(400, page("Something is missing", ""))
        else:
            self.library.change(path, given)
            self.send_response(303)
            self.send_header("Location", "/")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def answer(self, status: int, text: str, kind: str = "text/html; charset=utf-8") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database", required=True)
    options = parser.parse_args()
    Desk.library = Library(options.database)
    with ThreadingHTTPServer(("127.0.0.1", options.port), Desk) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
