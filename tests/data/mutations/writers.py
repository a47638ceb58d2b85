"""Valid logs of every format, drawn from a seed, as tables of cells that are text."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime",
    "Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance",
    "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
TITLES = ("Café Müller", "Les Misérables", "Plain", "Salt & Pepper", "Ñandú", "Solaris", "Ran")


@dataclass
class Table:
    """One text file as cells.

    Attributes:
        name: of the file, with folders.
        columns: names; written as a first line if ``header``.
        roles: what each column means, "" where a reader does not need it.
        rows: cells, as they are to be written.
        separator: of cells; "json" writes one JSON object a line.
        quoted: whether cells with a separator or a quote are written in quotes.
        encoding: of the file.
    """

    name: str
    columns: list[str]
    roles: list[str]
    rows: list[list[str]]
    separator: str = ","
    header: bool = True
    quoted: bool = False
    encoding: str = "utf-8"
    raw: set[tuple[int, int]] = field(default_factory=set)  # cells written without quotes

    def render(self) -> bytes:
        """The file."""
        if self.separator == "json":
            return "".join(self._object(row) for row in self.rows).encode(self.encoding)
        lines = [self.separator.join(self.columns)] if self.header else []
        for number, row in enumerate(self.rows):
            lines.append(
                self.separator.join(
                    self._cell(cell, (number, column) in self.raw)
                    for column, cell in enumerate(row)
                )
            )
        text = "".join(f"{line}\n" for line in lines)
        return text.encode(self.encoding, "surrogateescape" if self.encoding == "utf-8" else
                           "replace")  # fmt: skip

    def _cell(self, cell: str, raw: bool) -> str:
        if self.quoted and not raw and any(c in cell for c in (self.separator, '"', "\n")):
            return '"' + cell.replace('"', '""') + '"'
        return cell

    def _object(self, row: Sequence[str]) -> str:
        named = []
        for name, role, cell in zip(self.columns, self.roles, row, strict=False):
            bare = role in ("time", "rating", "bool", "price", "list", "unread")
            try:
                value = json.dumps(json.loads(cell)) if bare else json.dumps(cell)
            except ValueError:
                value = json.dumps(cell)
            named.append(f"{json.dumps(name)}: {value}")
        named += [f'"extra{k}": {json.dumps(c)}' for k, c in enumerate(row[len(self.columns) :])]
        return "{" + ", ".join(named) + "}\n"


@dataclass(frozen=True)
class Drawn:
    """Who took what: user and item numbers, seconds, and a strength from 0 to 4."""

    users: list[int]
    items: list[int]
    events: list[tuple[int, int, int, int]]


def draw(rng: Random, start: int, span: int = 600_000) -> Drawn:
    """Every item and user occurs, no two events of one user have one time."""
    users = rng.sample(range(1, 400), rng.randint(3, 5))
    items = rng.sample(range(1, 900), rng.randint(3, 6))
    pairs = [(u, i) for u in users for i in items if rng.random() < 0.8]
    pairs += [(users[0], i) for i in items] + [(u, items[0]) for u in users]
    times = rng.sample(range(start, start + span), len(pairs))
    events = [(u, i, t, rng.randint(0, 4)) for (u, i), t in zip(pairs, times, strict=True)]
    events[0] = (*events[0][:3], 4)
    return Drawn(users, items, events)


def table_csv(rng: Random) -> list[Table]:
    """Somebody's own shop: events.csv and items.csv."""
    d = draw(rng, 1_500_000_000)
    words = ("impression", "click", "view", "add_to_cart", "purchase")
    prefix = rng.choice(["", "u", "é"])
    events = Table(
        "events.csv",
        ["user", "item", "time", "event", "value", "comment"],
        ["user", "item", "time", "event", "price", "unread"],
        [[f"{prefix}{u}", f"i{i}", str(t), words[k], "9.50" if k == 4 else "", "so, so"]
         for u, i, t, k in d.events],
        quoted=True,
    )  # fmt: skip
    items = Table(
        "items.csv",
        ["item", "text", "category", "price"],
        ["item", "text", "label", "price"],
        [[f"i{i}", f"{rng.choice(TITLES)}, no {i}", rng.choice("abc"), f"{i / 4:.2f}"]
         for i in d.items],
        quoted=True,
    )  # fmt: skip
    return [events, items]


def _ratings(d: Drawn, times: Callable[[int], str] = str) -> list[list[str]]:
    return [[str(u), str(i), str(k + 1), times(t)] for u, i, t, k in d.events]


def ml_100k(rng: Random) -> list[Table]:
    """GroupLens's u.data and u.item."""
    d = draw(rng, 880_000_000)
    films = []
    for i in d.items:
        on = rng.sample(GENRES[1:], 2)
        flags = ["1" if g in on else "0" for g in GENRES]
        films.append([str(i), f"{rng.choice(TITLES)} {i} (1995)", "01-Jan-1995", "", "http://x"])
        films[-1] += flags
    roles = ["item", "text", "unread", "unread", "unread", *["flag"] * 19]
    return [
        Table("u.data", ["user", "item", "rating", "time"], ["user", "item", "rating", "time"],
              _ratings(d), "\t", header=False),
        Table("u.item", ["item", "title", "date", "video date", "url", *GENRES], roles, films,
              "|", header=False, encoding="latin-1"),
    ]  # fmt: skip


def ml_100k_atomic(rng: Random) -> list[Table]:
    """RecBole's copy of MovieLens-100K."""
    d = draw(rng, 880_000_000)
    head = ["user_id:token", "item_id:token", "rating:float", "timestamp:float"]
    films = [[str(i), f"{rng.choice(TITLES)} {i}", "1995", "Drama War"] for i in d.items]
    return [
        Table("ml-100k.inter", head, ["user", "item", "rating", "time"], _ratings(d), "\t"),
        Table("ml-100k.item", ["item_id:token", "movie_title:token_seq", "release_year:token",
                               "class:token_seq"], ["item", "text", "year", "label"], films, "\t"),
    ]  # fmt: skip


def ml_1m(rng: Random) -> list[Table]:
    """ratings.dat and movies.dat."""
    d = draw(rng, 970_000_000)
    films = [[str(i), f"{rng.choice(TITLES)} {i} (1995)", "Drama|War"] for i in d.items]
    return [
        Table("ml-1m/ratings.dat", ["userId", "movieId", "rating", "timestamp"],
              ["user", "item", "rating", "time"], _ratings(d), "::", header=False),
        Table("ml-1m/movies.dat", ["movieId", "title", "genres"], ["item", "text", "label"],
              films, "::", header=False, encoding="latin-1"),
    ]  # fmt: skip


def ml_25m(rng: Random) -> list[Table]:
    """ratings.csv and movies.csv."""
    d = draw(rng, 1_100_000_000)
    films = [[str(i), f"{rng.choice(TITLES)}, {i} (1995)", "Drama|War"] for i in d.items]
    rows = [[u, i, f"{r}.0", t] for u, i, r, t in _ratings(d)]
    return [
        Table("ratings.csv", ["userId", "movieId", "rating", "timestamp"],
              ["user", "item", "rating", "time"], rows),
        Table("movies.csv", ["movieId", "title", "genres"], ["item", "text", "label"], films,
              quoted=True),
    ]  # fmt: skip


def recbole(rng: Random) -> list[Table]:
    """Atomic files of a shop."""
    d = draw(rng, 1_300_000_000)
    rows = [[f"u{u}", f"i{i}", r, t] for (u, i, _, _), (_, _, r, t) in
            zip(d.events, _ratings(d), strict=True)]  # fmt: skip
    items = [[f"i{i}", f"{rng.choice(TITLES)} {i}", "Drama War", f"{i / 4:.2f}"] for i in d.items]
    return [
        Table("shop.inter", ["user_id:token", "item_id:token", "rating:float", "timestamp:float"],
              ["user", "item", "rating", "time"], rows, "\t"),
        Table("shop.item", ["item_id:token", "title:token_seq", "class:token_seq", "price:float"],
              ["item", "text", "label", "price"], items, "\t"),
    ]  # fmt: skip


def retailrocket(rng: Random) -> list[Table]:
    """events.csv, properties and the tree of categories."""
    d = draw(rng, 1_433_000_000)
    words = ("view", "view", "view", "addtocart", "transaction")
    rows = [[f"{t}{rng.randint(0, 999):03}", str(u), words[k], str(i), "7" if k == 4 else ""]
            for u, i, t, k in d.events]  # fmt: skip
    stamp = [1_435_460_400_000 + 1000 * k for k in range(2 * len(d.items))]
    told = [[str(stamp[k]), str(i), "categoryid", str(1000 + i % 3)] for k, i in enumerate(d.items)]
    told += [[str(stamp[k]), str(i), "888", f"n{i}.000 x"] for k, i in enumerate(d.items)]
    tree = [["1000", "5"], ["1001", "5"], ["1002", "1000"], ["5", ""]]
    return [
        Table("events.csv", ["timestamp", "visitorid", "event", "itemid", "transactionid"],
              ["time", "user", "event", "item", "unread"], rows),
        Table("item_properties_part1.csv", ["timestamp", "itemid", "property", "value"],
              ["stamp", "item", "property", "category"], told),
        Table("category_tree.csv", ["categoryid", "parentid"], ["category", "parent"], tree),
    ]  # fmt: skip


def taobao(rng: Random) -> list[Table]:
    """UserBehavior.csv."""
    d = draw(rng, 1_511_540_000)
    words = ("pv", "pv", "cart", "fav", "buy")
    rows = [[str(u), str(i), str(50 + i % 3), words[k], str(t)] for u, i, t, k in d.events]
    return [Table("UserBehavior.csv", ["user", "item", "category", "behaviour", "time"],
                  ["user", "item", "category", "event", "time"], rows, header=False)]  # fmt: skip


def kuairand(rng: Random) -> list[Table]:
    """A standard log and the videos' features."""
    d = draw(rng, 1_649_400_000)
    head = [
        "user_id", "video_id", "date", "hourmin", "time_ms", "is_click", "is_like", "is_follow",
        "is_comment", "is_forward", "is_hate", "long_view", "play_time_ms", "duration_ms",
        "profile_stay_time", "comment_stay_time", "is_profile_enter", "is_rand", "tab",
    ]  # fmt: skip
    roles = ["unread"] * len(head)
    for name, role in {"user_id": "user", "video_id": "item", "time_ms": "time",
                       "is_click": "flag", "long_view": "flag"}.items():  # fmt: skip
        roles[head.index(name)] = role
    rows = [
        [str(u), str(i), "20220408", "400", f"{t}123", "01"[k > 1], "0", "0", "0", "0", "0",
         "01"[k > 3], "9", "9", "0", "0", "0", "0", "1"]
        for u, i, t, k in d.events
    ]  # fmt: skip
    told = [[str(i), "1", "NORMAL", f"{i % 7},{i % 5}"] for i in d.items]
    return [
        Table("log_standard_4_08_to_4_21_pure.csv", head, roles, rows),
        Table("video_features_basic_pure.csv", ["video_id", "author_id", "video_type", "tag"],
              ["item", "unread", "unread", "tags"], told, quoted=True),
    ]  # fmt: skip


def kuairec(rng: Random) -> list[Table]:
    """The big matrix, tags and captions."""
    d = draw(rng, 1_593_878_900)
    ratio = ("0.01", "0.4", "0.75", "1.5", "2.5")
    rows = [[str(u), str(i), "99", "88", "2020-07-05 00:08:23.438", "20200705", f"{t}.5", ratio[k]]
            for u, i, t, k in d.events]  # fmt: skip
    rows[0][7] = "3.25"
    tags = [[str(i), f"[{i % 7}, {i % 5}]"] for i in d.items]
    heads = [
        "video_id", "manual_cover_text", "caption", "topic_tag", "first_level_category_id",
        "first_level_category_name", "second_level_category_id", "second_level_category_name",
    ]  # fmt: skip
    told = [[str(i), "UNKNOWN", f"精神 {i}", "[]", "8", "颜值", "9", "UNKNOWN"] for i in d.items]
    return [
        Table("big_matrix.csv", ["user_id", "video_id", "play_duration", "video_duration", "time",
                                 "date", "timestamp", "watch_ratio"],
              ["user", "item", "unread", "unread", "unread", "unread", "time", "ratio"], rows),
        Table("item_categories.csv", ["video_id", "feat"], ["item", "tags"], tags, quoted=True),
        Table("kuairec_caption_category.csv", heads,
              ["item", "unread", "text", "unread", "unread", "label", "unread", "label"], told,
              quoted=True),
    ]  # fmt: skip


def amazon_reviews(rng: Random) -> list[Table]:
    """JSON lines of reviews and of products."""
    d = draw(rng, 1_588_000_000)
    rows = [[str(k + 1), "Good", "[]", f"B{i}", f"P{i}", f"AE{u}", f"{t}123",
             ["false", "true"][k > 2]] for u, i, t, k in d.events]  # fmt: skip
    meta = [["All Beauty", f"{rng.choice(TITLES)} {i}", f"{i / 4:.2f}", f"P{i}",
             '["Beauty", "Hair"]'] for i in d.items]  # fmt: skip
    return [
        Table("All_Beauty.jsonl", ["rating", "title", "images", "asin", "parent_asin", "user_id",
                                   "timestamp", "verified_purchase"],
              ["rating", "unread", "unread", "unread", "item", "user", "time", "bool"], rows,
              "json"),
        Table("meta_All_Beauty.jsonl", ["main_category", "title", "price", "parent_asin",
                                        "categories"],
              ["label", "text", "price", "item", "list"], meta, "json"),
    ]  # fmt: skip


def amazon_ratings(rng: Random) -> list[Table]:
    """The rating file of one category."""
    d = draw(rng, 1_353_612_262)
    rows = [[f"AE{u}", f"{i:010}", f"{k + 1}.0", f"{t}000"] for u, i, t, k in d.events]
    return [Table("Books.csv", ["user_id", "parent_asin", "rating", "timestamp"],
                  ["user", "item", "rating", "time"], rows)]  # fmt: skip


def mind(rng: Random) -> list[Table]:
    """behaviors.tsv and news.tsv."""
    d = draw(rng, 1_573_463_158)
    rows = []
    for number, (u, _, t, _) in enumerate(d.events, 1):
        shown = rng.sample(d.items, rng.randint(1, len(d.items)))
        marks = " ".join(f"N{i}-{rng.randint(0, 1)}" for i in shown[:-1]) + f" N{shown[-1]}-1"
        when = datetime.fromtimestamp(t, UTC)
        told = f"{when:%m/%d/%Y} {when.hour % 12 or 12}:{when:%M:%S %p}"
        rows.append([str(number), f"U{u}", told, "", marks.strip()])
    news = [[f"N{i}", rng.choice(["health", "news"]), "x", f'The "{rng.choice(TITLES)}" {i}', "",
             "https://x", "[]", "[]"] for i in d.items]  # fmt: skip
    return [
        Table("behaviors.tsv", ["impression", "user", "time", "history", "impressions"],
              ["unread", "user", "time", "unread", "list"], rows, "\t", header=False),
        Table("news.tsv", ["id", "category", "subcategory", "title", "abstract", "url", "e1", "e2"],
              ["item", "label", "unread", "text", "unread", "unread", "unread", "unread"], news,
              "\t", header=False),
    ]  # fmt: skip


def lastfm_1k(rng: Random) -> list[Table]:
    """Listens."""
    d = draw(rng, 1_155_477_560)
    rows = [[f"user_{u:06}", f"{datetime.fromtimestamp(t, UTC):%Y-%m-%dT%H:%M:%SZ}", f"f{i}",
             f"{TITLES[i % 7]} {i}", "", f"Track {k}"] for u, i, t, k in d.events]  # fmt: skip
    return [Table("userid-timestamp-artid-artname-traid-traname.tsv",
                  ["user", "time", "artid", "artist", "traid", "track"],
                  ["user", "time", "unread", "name", "unread", "unread"], rows, "\t",
                  header=False)]  # fmt: skip


def hetrec(rng: Random) -> list[Table]:
    """Artists that users listened to; no times."""
    d = draw(rng, 0)
    pairs = sorted({(u, i) for u, i, _, _ in d.events})
    rng.shuffle(pairs)
    return [
        Table("user_artists.dat", ["userID", "artistID", "weight"], ["user", "item", "unread"],
              [[str(u), str(i), str(rng.randint(1, 999))] for u, i in pairs], "\t"),
        Table("artists.dat", ["id", "name", "url", "pictureURL"],
              ["item", "text", "unread", "unread"],
              [[str(i), f"{rng.choice(TITLES)} {i}", "http://x", ""] for i in d.items], "\t"),
    ]  # fmt: skip


def open_bandit(rng: Random) -> list[Table]:
    """Impressions of one campaign, and its items."""
    d = draw(rng, 1_574_553_600)
    code = {i: k for k, i in enumerate(d.items)}
    head = ["", "timestamp", "item_id", "position", "click", "propensity_score",
            *(f"user_feature_{k}" for k in range(4)), "user-item_affinity_0"]  # fmt: skip
    rows = [[str(n), f"{datetime.fromtimestamp(t, UTC):%Y-%m-%d %H:%M:%S}+00:00", str(code[i]),
             str(1 + k % 3), "01"[k > 2], "0.25", f"a{u}", "bb", "cc", "dd", "0.0"]
            for n, (u, i, t, k) in enumerate(d.events)]  # fmt: skip
    items = [[str(k), str(k), "-0.5", f"f{k}", f"a{k % 2}", "9"] for k in range(len(d.items))]
    roles = ["unread", "time", "item", "position", "flag", "prob", "user", "user", "user", "user",
             "unread"]  # fmt: skip
    return [
        Table("random/all/all.csv", head, roles, rows),
        Table("random/all/item_context.csv", ["", "item_id", *(f"item_feature_{k}"
                                                              for k in range(4))],
              ["unread", "item", "number", "label", "label", "label"], items),
    ]  # fmt: skip


WRITERS: dict[str, Callable[[Random], list[Table]]] = {
    "table-csv": table_csv,
    "movielens-100k": ml_100k,
    "movielens-100k-atomic": ml_100k_atomic,
    "movielens-1m": ml_1m,
    "movielens-25m": ml_25m,
    "recbole": recbole,
    "retailrocket": retailrocket,
    "taobao": taobao,
    "kuairand": kuairand,
    "kuairec": kuairec,
    "amazon-reviews": amazon_reviews,
    "amazon-ratings": amazon_ratings,
    "mind": mind,
    "lastfm-1k": lastfm_1k,
    "lastfm-hetrec": hetrec,
    "open-bandit": open_bandit,
}
"""By the name that a case gives; the first table of each is the log."""
