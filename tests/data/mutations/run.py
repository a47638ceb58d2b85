"""Mutated logs through recenv's readers: what came of each, counted.

``python tests/data/mutations/run.py --cases 10000 --seed 0`` prints the classes by format and by
mutation, also when it is stopped (SIGINT, SIGTERM), and how far it is once a minute.
``--case FORMAT:MUTATION+MUTATION:SEED`` runs one case and prints what came and why.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[2])

import pyarrow as pa
from data.mutations import typed
from data.mutations.judge import JUDGES, Event, Place, Verdict, canonical
from data.mutations.planted import MUTATIONS, State, apply
from data.mutations.writers import WRITERS

from recenv.data import load, read_table
from recenv.errors import DataNotFoundError, RecenvError
from recenv.schema import Catalog, InteractionLog

Read = tuple[InteractionLog, Catalog]

CORRECT, CLEAR = "correct", "clear error"
WRONG, UNCLEAR, REFUSED = "silently wrong", "unclear error", "refused though right"
HANG, CRASH = "hang", "crash"
CLASSES = (CORRECT, CLEAR, WRONG, UNCLEAR, REFUSED, HANG, CRASH)
GOOD = (CORRECT, CLEAR)

MEMORY = Path("/dev/shm")
"""A file system in memory, where there is one: each case writes some small files."""

PROGRESS = 60.0
"""Seconds between two lines that tell how far the cases are."""

SECONDS = 30.0
"""A case may take so long; it takes some hundredths of a second."""


@dataclass(frozen=True)
class Case:
    """A log of a format, drawn from a seed, with mistakes planted."""

    format: str
    mutations: tuple[str, ...]
    seed: int

    def __str__(self) -> str:
        return f"{self.format}:{'+'.join(self.mutations)}:{self.seed}"

    @classmethod
    def parse(cls, text: str) -> Case:
        """From what ``str`` gives."""
        format_, names, seed = text.split(":")
        return cls(format_, tuple(n for n in names.split("+") if n), int(seed))


@dataclass(frozen=True)
class Outcome:
    """What came of a case: one of ``CLASSES``, and why."""

    case: str
    kind: str
    why: str


def cases(number: int, seed: int) -> list[Case]:
    """Every format with every mutation in turn, one case in four with two or three of them."""
    pairs = [(f, m) for f in WRITERS for m in ("", *MUTATIONS)]
    pairs += [(f, m) for f in typed.FORMATS for m in ("", *typed.mutations(f))]
    rng = Random(seed)
    chosen: list[tuple[str, str]] = []
    while len(chosen) < number:
        chosen += rng.sample(pairs, len(pairs))
    made = []
    for format_, name in chosen[:number]:
        known = list(typed.mutations(format_) if format_ in typed.FORMATS else MUTATIONS)
        names = [name] if name else []
        if name and rng.random() < 0.25:
            names += rng.sample(known, rng.randint(1, 2))
        made.append(Case(format_, tuple(dict.fromkeys(names)), rng.randrange(10**6)))
    return made


# --- reading ----------------------------------------------------------------------------------

_COLUMNS = {c: c for c in ("user", "item", "time", "event", "value")}
_ITEM_COLUMNS = {c: c for c in ("item", "text", "category", "price")}


def _own_table(folder: Path) -> Read:
    events, items = (
        next((p for p in (folder / name, folder / f"{name}.gz") if p.exists()), folder / name)
        for name in ("events.csv", "items.csv")
    )
    return _own(events, items)


def _own(events: Any, items: Any) -> Read:
    return read_table(
        events, items, columns=_COLUMNS, item_columns=_ITEM_COLUMNS, short_users="keep"
    )


def _by_name(name: str) -> Callable[[Path], Read]:
    return lambda folder: load(name, folder, progress=False)


READERS: dict[str, Callable[[Path], Read]] = {
    name: _by_name(name.removesuffix("-atomic").replace("amazon-reviews", "amazon-2023").replace(
        "amazon-ratings", "amazon-2023"))
    for name in (*WRITERS, "complete-journey", "complete-journey-products")
} | {"table-csv": _own_table}  # fmt: skip

NOT_FOR_TABLES = ("zip", "zip-macos", "zip-cut", "zip-flipped")
"""Mutations that give ``read_table`` no file to read."""


def written(case: Case, folder: Path) -> dict[str, bytes]:
    """The files of a case, put into the folder."""
    tables = WRITERS[case.format](Random(case.seed))
    names = [n for n in case.mutations if case.format != "table-csv" or n not in NOT_FOR_TABLES]
    files = apply(State(tables, Random(str(case))), names)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return files


class _Late(BaseException):
    pass


def _ring(*_: Any) -> None:
    raise _Late


def run(case: Case, root: Path) -> Outcome:
    """Write, judge and read one case in a folder of its own below ``root``."""
    folder = Path(tempfile.mkdtemp(dir=root))
    try:
        if case.format in typed.FORMATS:
            given, verdict = typed.made(case.format, case.mutations, case.seed, folder)
            read = READERS.get(case.format, lambda _: _own(*given))
        else:
            verdict = JUDGES[case.format](written(case, folder))
            read = READERS[case.format]
        kind, why = _came(read, folder, verdict)
        return Outcome(str(case), kind, why)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _came(read: Callable[[Path], Read], folder: Path, verdict: Verdict) -> tuple[str, str]:
    alarm = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGALRM, _ring) if alarm else None
    try:
        if alarm:
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            found = read(folder)
        finally:
            if alarm:
                signal.setitimer(signal.ITIMER_REAL, 0)
    except _Late:
        return HANG, f"no answer within {SECONDS:g} s"
    except Exception as error:
        return refusal(error, verdict)
    finally:
        if alarm:
            signal.signal(signal.SIGALRM, before)
    return reading(found, verdict)


# --- comparing --------------------------------------------------------------------------------

_REMEDY = re.compile(
    r"(?:[.;:,?!)'\"] |, or |\b(?:or|and) )(?:Get|Mend|Drop|Pass|Give|Say|Add|Map|Name|Save|Write|"
    r"Use|Check|Put|Keep|Choose|Unpack|Remove|Delete|Read|Convert|Rename|Take|Lower|Install|Leave|"
    r"Quote|Spell|Merge|Set|Open|Export|Try|Look|Raise|Round|Download|Replace|Fill|Make|Turn|Join|Decode)\b",
    re.IGNORECASE,
)


def refusal(error: Exception, verdict: Verdict) -> tuple[str, str]:
    """The class of an error: who may act on it, and whether it was due."""
    text = f"{type(error).__name__}: {error}"
    if not isinstance(error, RecenvError):
        frames = traceback.extract_tb(error.__traceback__)
        raised = f" (from {Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
        return UNCLEAR, text[:300] + raised
    places = [*verdict.faults, *verdict.doubts]
    if not places:
        return REFUSED, text[:400]
    due = verdict.faults or verdict.doubts
    expected = "; ".join(sorted({_shown(p) for p in due})[:3])
    named = any(p.file in text or (p.column and repr(p.column) in text) for p in places)
    tabular = re.search(r"Column '|event table|[Ii]tem table|[Dd]ata row", text)
    absent = isinstance(error, DataNotFoundError) and not all(p.lines for p in places)
    logged = "The log '" in text and not all(p.lines for p in places)
    if not (named or absent or logged or (tabular and verdict.own)):
        return UNCLEAR, f"names no file or column: {text[:300]} (expected {expected})"
    two_files = "belong together" in text  # that has no line
    if not two_files and all(p.lines for p in places) and not _placed(text, places):
        return UNCLEAR, f"no line or a wrong one: {text[:300]} (expected {expected})"
    if not _REMEDY.search(text):
        return UNCLEAR, f"no remedy: {text[:300]}"
    return CLEAR, text[:300]


def _shown(place: Place) -> str:
    at = f" {min(place.lines)}..{max(place.lines)} row {place.row}" if place.lines else ""
    return f"{place.file}{at}: {place.why[:80]}"


def _placed(text: str, places: Iterable[Place]) -> bool:
    spans = [
        (int(m[1]), int(m[2] or m[1])) for m in re.finditer(r"\blines? (\d+)(?: to (\d+))?", text)
    ]
    rows = [int(m[1]) for m in re.finditer(r"\brow (\d+)", text)]
    for place in places:
        if any(low <= line <= high for low, high in spans for line in place.lines):
            return True
        if place.row is not None and place.row in rows:
            return True
    return False


def reading(found: Read, verdict: Verdict) -> tuple[str, str]:
    """The class of what was read."""
    log, catalog = found
    if verdict.faults:
        told = "; ".join(sorted({_shown(p) for p in verdict.faults})[:3])
        return WRONG, f"read although: {told}"
    wrong = _wrong_events(log, catalog, verdict) or _wrong_items(catalog, verdict)
    if wrong:
        doubts = "; ".join(sorted({_shown(p) for p in verdict.doubts})[:3])
        return WRONG, wrong + (f" (doubts: {doubts})" if doubts else "")
    return CORRECT, ""


def _wrong_events(log: InteractionLog, catalog: Catalog, verdict: Verdict) -> str | None:
    for what, ids in (("users", log.user_ids), ("items", catalog.item_ids)):
        spelled = Counter(canonical(str(i)) for i in ids)
        (name, times), *_ = spelled.most_common(1) or [("", 0)]
        if times > 1:
            return f"{what} {[str(i) for i in ids if canonical(str(i)) == name]} are one"
    stamps = log.column("time")
    if (stamps[1:] < stamps[:-1]).any():
        return "times are not in order"
    if verdict.anything:
        return None
    paid = log.column("value").tolist() if "value" in log.events else [None] * len(log)
    rows = zip(*(log.column(c).tolist() for c in ("user", "item", "time", "response")), paid,
               strict=True)  # fmt: skip
    got = Counter(
        (canonical(str(log.user_ids[u])), canonical(str(catalog.item_ids[i])), round(t, 3), r,
         None if v is None else round(v, 6))
        for u, i, t, r, v in rows
    )  # fmt: skip
    want = _counted(verdict.events)
    if verdict.merged is not None:
        if got == want:
            return None
        if got == _counted(verdict.merged):
            told = _told(log, verdict.repeated)
            return None if told else f"{verdict.repeated} rows left out, and no note says so"
    if got.keys() != want.keys():
        more, less = sorted(got.keys() - want.keys()), sorted(want.keys() - got.keys())
        return (
            f"{got.total()} events, not {want.total()}; "
            f"more: {more[:2]} ({len(more)}), less: {less[:2]} ({len(less)})"
        )
    if any(got[k] > want[k] for k in got):
        return "an event was counted again"
    merged = want.total() - got.total()
    again = sum(n - 1 for n in want.values())
    if merged and not _told(log, merged) and not _told(log, verdict.repeated or merged):
        return f"{merged} events were merged, and no note says so"
    if verdict.repeated and not any(_told(log, n) for n in (verdict.repeated, again, merged)):
        return f"{verdict.repeated} rows stand there twice, and no note says so"
    for number in verdict.left_out:
        if not _told(log, number):
            return f"{number} rows were left out or doubtful, and no note says so"
    return None


def _counted(events: Iterable[Event]) -> Counter[Event]:
    return Counter(
        (u, i, round(t, 3), r, None if v is None else round(v, 6)) for u, i, t, r, v in events
    )


def _told(log: InteractionLog, number: int) -> bool:
    return any(re.search(rf"(?<![\d.]){number}(?![\d.]*\d)", note) for note in log.notes)


def _wrong_items(catalog: Catalog, verdict: Verdict) -> str | None:
    place = {canonical(str(name)): k for k, name in enumerate(catalog.item_ids)}
    for name, (prices, words) in verdict.items.items():
        if name not in place:
            continue
        price, text = float(catalog.price[place[name]]), str(catalog.text[place[name]])
        if not any(abs(price - p) <= 1e-5 * max(1.0, abs(p)) for p in prices):
            return f"the price of {name} is {price}, not {prices}"
        for word in words:
            if " ".join(word.split()) not in " ".join(text.split()):
                return f"the text of {name} is {text[:80]!r}, without {word[:80]!r}"
    return None


# --- many cases -------------------------------------------------------------------------------


def outcomes(chosen: list[Case], number: int, seed: int) -> Generator[Outcome]:
    """Each case's, run in a process of its own, which is started again after a crash."""
    at = 0
    while at < len(chosen):
        command = [sys.executable, __file__, "--cases", str(number), "--seed", str(seed),
                   "--worker-from", str(at)]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
            assert worker.stdout is not None
            try:
                for line in worker.stdout:
                    yield Outcome(**json.loads(line))
                    at += 1
            except BaseException:  # stopped: the worker too
                worker.kill()
                raise
        if worker.returncode != 0 and at < len(chosen):
            yield Outcome(str(chosen[at]), CRASH, f"the process ended with {worker.returncode}")
            at += 1


def failures(found: Iterable[Outcome]) -> list[Outcome]:
    """What is neither correct nor a clear error."""
    return [o for o in found if o.kind not in GOOD]


def classes(found: Iterable[Outcome]) -> str:
    """Two tables: outcomes by format, and by mutation (each case counts for all of its own)."""
    by_format: dict[str, Counter[str]] = {}
    by_mutation: dict[str, Counter[str]] = {}
    for outcome in found:
        case = Case.parse(outcome.case)
        by_format.setdefault(case.format, Counter())[outcome.kind] += 1
        for name in case.mutations or ("none",):
            by_mutation.setdefault(name, Counter())[outcome.kind] += 1
    total = sum(by_format.values(), Counter())
    lines = []
    for title, rows in (("format", by_format), ("mutation", by_mutation)):
        lines.append(f"{title:28}" + "".join(f"{c:>22}" for c in CLASSES))
        rows = dict(sorted(rows.items()))
        if title == "format":
            rows["all"] = total
        for name, counts in rows.items():
            lines.append(f"{name:28}" + "".join(f"{counts[c] or '.':>22}" for c in CLASSES))
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    """The command line; 1 if a case fails, or not all were run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="which ones")
    parser.add_argument("--case", help="one case, as printed")

    parser.add_argument("--worker-from", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    warnings.simplefilter("error")
    pa.set_cpu_count(1)  # threads cost more than these small tables
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        root = Path(name)
        if given.case:
            case = Case.parse(given.case)
            if case.format in WRITERS:
                (root / "shown").mkdir()
                for file, data in written(case, root / "shown").items():
                    print(f"--- {file} ({len(data)} bytes)\n{data[:3000]!r}")
            outcome = run(case, root)
            print(f"{outcome.kind}: {outcome.why}")
            return outcome.kind not in GOOD
        chosen = cases(given.cases, given.seed)
        if given.worker_from is not None:
            for case in chosen[given.worker_from :]:
                print(json.dumps(vars(run(case, root))), flush=True)
            return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    start, found, stopped = time.monotonic(), [], ""
    told = start
    try:
        with closing(outcomes(chosen, given.cases, given.seed)) as coming:
            for outcome in coming:
                found.append(outcome)
                if outcome.kind not in GOOD:
                    print(f"{outcome.kind}\t{outcome.case}\t{outcome.why}", flush=True)
                if time.monotonic() - told > PROGRESS:
                    told = time.monotonic()
                    bad = len(failures(found))
                    print(f"... {len(found)} of {given.cases} cases, {bad} failed", flush=True)
    except KeyboardInterrupt:
        stopped = ", stopped"
    print(f"\n{len(found)} cases, seed {given.seed}, {time.monotonic() - start:.0f} s{stopped}\n")
    print(classes(found), flush=True)
    return bool(failures(found) or stopped)


if __name__ == "__main__":
    sys.exit(main())
