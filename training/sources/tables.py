"""A file as a table of text: which form it has is found by what is in it, not by its name.

Nothing is converted here; `columns` does that, strictly. JSON's numbers therefore stay the text
that they are in the file. The csv module finds cells; its Sniffer is not used, as it is wrong on
semicolons with decimal commas.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops_anomaly.detection.timeline import counted
from training import SourceError
from training.sources.columns import is_gap, is_number, is_time

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
SAMPLE_ROWS = 200
"""Rows by which the delimiter is chosen; it is checked on all."""

TIME_NAMES = frozenset({"timestamp", "time", "datetime", "date", "ts", "zeit", "datum"})
"""Headers of a column of times, in lower case and letters only."""

UNNAMED = "unnamed"
"""A column without a header, such as pandas writes its index."""

KNOWN_JSON = (
    "expected the output of aws cloudwatch get-metric-statistics or get-metric-data, of "
    'Prometheus\' query_range, or a list such as [{"timestamp": "2026-03-04T12:00:00Z", '
    '"value": 0.13}, ...]'
)


@dataclass(frozen=True)
class Table:
    """What a file holds, as text.

    Attributes
    ----------
    form : str
        What it was recognised as, for people.
    header : list of str
    rows : list of list of str
        Each as long as the header.
    places : list of int
        Where each row is in the file: its line, or its number.
    place_name : str
        "line", or what else `places` counts.
    series : list of str
        Of which series each row is, by the file itself; empty where it doesn't say.
    faults : dict of int to str
        Rows that are none, by place.
    locale_unknown : bool
        Whether numbers may be written as in any country.
    notes : list of str
        What else there is to know.
    """

    form: str
    header: list[str]
    rows: list[list[str]]
    places: list[int]
    place_name: str = "line"
    series: list[str] = field(default_factory=list)
    faults: dict[int, str] = field(default_factory=dict)
    locale_unknown: bool = False
    notes: list[str] = field(default_factory=list)

    def column(self, name: str) -> list[str]:
        """Return the cells of a column."""
        position = self.header.index(name)
        return [row[position] for row in self.rows]


def read_table(path: Path) -> Table:
    """Read a file of CSV, JSON or Parquet.

    Raises
    ------
    SourceError
        If it can't be read, or has no form that is known.
    """
    try:
        data = path.read_bytes()
    except IsADirectoryError as error:
        raise SourceError(
            f"is a folder; choose one file, or take all: ops-anomaly replay --csv {path}"
        ) from error
    except OSError as error:
        raise SourceError(f"can't be read: {error.strerror}") from error
    if data.startswith(b"PAR1"):
        return parquet_table(data)
    text, note = decode(data)
    table = json_table(text) if text.lstrip()[:1] in ("{", "[") else csv_table(text)
    table.notes.extend(note)
    return table


def decode(data: bytes) -> tuple[str, list[str]]:
    """Return text of UTF-8 or UTF-16, or of Windows' encoding with a note.

    Raises
    ------
    SourceError
        If it is not text.
    """
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    # in Windows-1252 names alone can be wrong: times and values are ASCII
    for encoding in ("utf-16",) if is_utf16 else ("utf-8-sig", "cp1252"):
        try:
            text = data.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        raise SourceError("is not text in UTF-8, UTF-16 or Windows-1252")
    if "\0" in text:
        raise SourceError("is not a text file; expected CSV, JSON or Parquet")
    return text, ["names in Windows-1252"] if encoding == "cp1252" else []


# CSV


def csv_table(text: str) -> Table:
    """Return the table of a CSV file."""
    mark = re.match(r'"?sep=([,;\t|])"?\r?\n', text)
    delimiter = mark[1] if mark else choose_delimiter(text)
    rows = list(csv_rows(text, delimiter))
    rows = [(line, cells) for line, cells in rows if any(cells)]
    while rows and rows[0][1][0].startswith(("sep=", "#")):
        del rows[0]
    if not rows:
        raise SourceError("is empty")
    start, header = find_header([cells for _, cells in rows])
    table = Table(
        form=csv_form(text, [cells for _, cells in rows[:start]], header, delimiter),
        header=header,
        rows=[],
        places=[],
        locale_unknown=delimiter != ",",
    )
    for line, cells in rows[start:]:
        row = cells[: len(header)]
        if len(row) < len(header) or any(cells[len(header) :]):
            count = counted(len(cells), "cell")
            table.faults[line] = f"{count}, expected {len(header)} as in the header"
        else:
            table.rows.append(row)
            table.places.append(line)
    return table


def csv_rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line on which each row ends, and its cells.

    Raises
    ------
    SourceError
        Naming the line on which a row begins whose quotes are wrong.
    """
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    line = 0
    try:
        for cells in reader:
            line = reader.line_num
            yield line, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise SourceError(
            f"is not CSV: line {line + 1}: {error}; close each quote before the next delimiter, "
            "and write a quote within quotes twice"
        ) from error


def choose_delimiter(text: str) -> str:
    """Return the delimiter that makes most rows hold a time beside a number."""
    return max(DELIMITERS, key=lambda delimiter: count_readings(text, delimiter))


def count_readings(text: str, delimiter: str) -> tuple[int, int]:
    """Return how many of the first rows hold a time beside a value, and how many have two cells."""
    readings = pairs = 0
    try:
        for number, (_, cells) in enumerate(csv_rows(text, delimiter)):
            readings += is_reading(cells)
            pairs += len(cells) > 1
            if number == SAMPLE_ROWS:
                break
    except SourceError:
        return 0, 0
    return readings, pairs


def is_reading(cells: Sequence[str]) -> bool:
    """Return whether a row holds a time, and beside it a number or a gap."""
    times = [is_time(cell) for cell in cells]
    return any(
        (is_number(cell) or is_gap(cell)) and any(times[:at] + times[at + 1 :])
        for at, cell in enumerate(cells)
    )


def find_header(rows: list[list[str]]) -> tuple[int, list[str]]:
    """Return where the readings begin, and the header of their columns.

    A row before the first reading is the header if it names a column of times; CloudWatch's
    console writes rows of properties first, of which "Label" is the header.
    """
    if is_console_export(rows):
        label = next((cells for cells in rows if bare(cells[0]) == "label"), rows[0])
        first = next((at for at, cells in enumerate(rows) if is_time(cells[0])), len(rows))
        return first, unique(["Timestamp", *label[1:]])
    first = next((at for at, cells in enumerate(rows) if is_reading(cells)), len(rows))
    if first == 0:
        return 0, [f"column {number}" for number in range(1, len(rows[0]) + 1)]
    for at, cells in enumerate(rows[:first]):
        if any(bare(cell) in TIME_NAMES for cell in cells):
            return at + 1, unique(cells)
    return 1, unique(rows[0])


def is_console_export(rows: list[list[str]]) -> bool:
    """Return whether a file begins as CloudWatch's console writes it."""
    names = [bare(cell) for cell in rows[0]] if rows else [""]
    return names[0] in ("fulllabel", "label") and TIME_NAMES.isdisjoint(names)


def bare(name: str) -> str:
    """Return the letters of a header, in lower case."""
    return re.sub(r"[\W_]", "", name).lower()


def unique(header: list[str]) -> list[str]:
    """Return headers, with a name for empty ones and a number behind repeated ones.

    Examples
    --------
    >>> unique(["", "cpu", "cpu"])
    ['unnamed', 'cpu', 'cpu (2)']
    """
    names = [name or UNNAMED for name in header]
    counts = [names[:at].count(name) for at, name in enumerate(names)]
    return [
        f"{name} ({count + 1})" if count else name
        for name, count in zip(names, counts, strict=True)
    ]


def without_number(name: str) -> str:
    """Return a header without the number that `unique` put behind it.

    Examples
    --------
    >>> without_number("cpu (2)")
    'cpu'
    """
    return re.sub(r" \([0-9]+\)$", "", name)


def csv_form(text: str, preamble: list[list[str]], header: list[str], delimiter: str) -> str:
    """Return what a CSV file is recognised as."""
    if is_console_export(preamble):
        return "CloudWatch console export"
    if {"Timestamp", "Unit"} <= set(header):
        return "CloudWatch statistics in CSV"
    if re.match(r'("?sep=."?\s+)?"Time"', text) or header[:3] == ["Series", "Time", "Value"]:
        return "Grafana CSV export"
    return "CSV" if delimiter == "," else f"CSV with {DELIMITERS[delimiter]}"


# JSON


def json_table(text: str) -> Table:
    """Return the table of a JSON document."""
    try:
        content = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"is not JSON: {error}; {KNOWN_JSON}") from error
    if isinstance(content, dict):
        for key, read in JSON_FORMS.items():
            if key in content:
                try:
                    return read(content)
                except (KeyError, TypeError, ValueError, AttributeError) as error:
                    raise SourceError(f"has {key!r} in another form; {KNOWN_JSON}") from error
    if isinstance(content, list) and all(isinstance(record, dict) for record in content):
        return records_table("JSON list", content)
    raise SourceError(f"is JSON of another form; {KNOWN_JSON}")


def metric_statistics(content: dict[str, Any]) -> Table:
    """Return the table of `aws cloudwatch get-metric-statistics`."""
    nested = "ExtendedStatistics"
    records = [
        {name: cell for name, cell in datapoint.items() if name != nested}
        | datapoint.get(nested, {})
        for datapoint in content["Datapoints"]
    ]
    return records_table("CloudWatch get-metric-statistics", records)


def metric_data(content: dict[str, Any]) -> Table:
    """Return the table of `aws cloudwatch get-metric-data`; a result may come in several parts."""
    rows, series, notes = [], [], []
    for result in content["MetricDataResults"]:
        name = " ".join(filter(None, [result["Id"], result.get("Label")]))
        readings = zip(result["Timestamps"], result["Values"], strict=True)
        for time, value in readings:
            rows.append([as_text(time), as_text(value)])
            series.append(name)
        if result.get("StatusCode", "Complete") != "Complete":
            notes.append(f"{name}: {result['StatusCode']}")
    if content.get("NextToken"):
        notes.append("there are more pages (NextToken)")
    return Table(
        form="CloudWatch get-metric-data",
        header=["Timestamps", "Values"],
        rows=rows,
        places=[*range(1, len(rows) + 1)],
        place_name="datapoint",
        series=series,
        notes=list(dict.fromkeys(notes)),
    )


def prometheus(content: dict[str, Any]) -> Table:
    """Return the table of Prometheus' `query_range`."""
    if content.get("status") == "error":
        raise SourceError(f"holds an error of Prometheus: {content.get('error')}")
    data = content["data"]
    if data["resultType"] != "matrix":
        raise SourceError(
            f"holds a {data['resultType']} of Prometheus, of one moment; export a "
            "range with /api/v1/query_range"
        )
    rows, series = [], []
    for result in data["result"]:
        if "values" not in result:
            raise SourceError("holds histograms of Prometheus; export a quantile or a rate of them")
        for time, value in result["values"]:
            rows.append([as_text(time), as_text(value)])
            series.append(prometheus_name(result["metric"]))
    return Table(
        form="Prometheus query_range",
        header=["time", "value"],
        rows=rows,
        places=[*range(1, len(rows) + 1)],
        place_name="sample",
        series=series,
    )


def prometheus_name(labels: dict[str, str]) -> str:
    """Return a series as Prometheus writes it.

    Examples
    --------
    >>> prometheus_name({"__name__": "up", "job": "web"})
    'up{job="web"}'
    """
    pairs = [f'{name}="{labels[name]}"' for name in sorted(labels) if name != "__name__"]
    return labels.get("__name__", "") + (f"{{{', '.join(pairs)}}}" if pairs else "")


def detect_request(content: dict[str, Any]) -> Table:
    """Return the table of a request of POST /detect."""
    return records_table("request of POST /detect", content["series"])


JSON_FORMS = {
    "MetricDataResults": metric_data,
    "Datapoints": metric_statistics,
    "data": prometheus,
    "error": prometheus,
    "series": detect_request,
}
"""A key at the top of a JSON document, and what reads such a document."""


def records_table(form: str, records: Iterable[dict[str, Any]]) -> Table:
    """Return the table of a list of objects."""
    records = list(records)
    header = list(dict.fromkeys(name for record in records for name in record))
    return Table(
        form=form,
        header=header,
        rows=[[as_text(record.get(name)) for name in header] for record in records],
        places=[*range(1, len(records) + 1)],
        place_name="reading",
    )


def as_text(cell: Any) -> str:
    """Return a cell of JSON as text; an object or a list is none that a column takes."""
    if cell is None:
        return ""
    return cell.strip() if isinstance(cell, str) else json.dumps(cell)


# Parquet


def parquet_table(data: bytes) -> Table:
    """Return the table of a Parquet file.

    Raises
    ------
    SourceError
        If pyarrow is not installed, or can't read the file.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise SourceError("is Parquet; to read it: pip install pyarrow") from error
    try:
        columns = parquet.read_table(io.BytesIO(data))
        cells = {name: parquet_cells(columns[name], pa) for name in columns.column_names}
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"can't be read as Parquet: {error}") from error
    return Table(
        form="Parquet",
        header=list(cells),
        rows=[list(row) for row in zip(*cells.values(), strict=True)],
        places=[*range(1, columns.num_rows + 1)],
        place_name="row",
    )


def parquet_cells(column: Any, pa: Any) -> list[str]:
    """Return a column of Arrow as text: times in ISO 8601, with a Z if they have a zone."""
    suffix = ""
    if pa.types.is_timestamp(column.type):
        suffix = "Z" if column.type.tz else ""
        in_zone = column.cast(pa.timestamp("us", column.type.tz), safe=False)
        column = in_zone.cast(pa.timestamp("us"))  # in UTC
    return ["" if cell is None else f"{cell}{suffix}" for cell in column.to_pylist()]
