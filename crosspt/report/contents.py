"""What the report's tables hold."""

from collections.abc import Iterator, Sequence
from typing import Any

from crosspt.report.charts import axis_name
from crosspt.report.paper import PaperTable, Verdict, plain_task, table_of, tables_of
from crosspt.report.sheets import Column, Entry, Sheet
from crosspt.report.summary import MAJORITY, Condition, Spread, Summary, show


def make_sheets(summary: Summary, verdicts: Sequence[Verdict]) -> Iterator[Sheet]:
    """All tables of an experiment; the main one first."""
    yield _means(summary)
    if summary.tasks:
        yield _tasks(summary)
    if verdicts:
        yield _statements(verdicts)
    for table in tables_of(summary):
        yield _printed(summary, table)
    if summary.tasks:
        yield _metrics(summary)
    if any(any(condition.banks()) for condition in summary.find()):
        yield _prompts(summary)
    open_cells = [cell for cell in summary.experiment.cells if cell.results is None]
    if open_cells:
        rows = [[Entry(cell.name), Entry(cell.problem or "")] for cell in open_cells]
        yield Sheet("unfinished", "Failed and unfinished cells", [_text("cell"), _text("reason")], rows)


def _means(summary: Summary) -> Sheet:
    tables = tables_of(summary)
    columns = [*_setting_columns(summary), Column("seeds"), Column("mean"), Column("invalid")]
    if summary.has_ranks:
        columns.append(Column("mean, ranked"))
    with_sources = any(condition.wssp().mean is not None for condition in summary.conditions)
    if with_sources:
        columns.append(Column("WSSP"))
    columns.append(Column("parameters"))
    rows = []
    for condition in summary.conditions:
        spread = condition.overall()
        row = [
            *_setting_entries(summary, condition),
            Entry(f"{len(condition.cells)} of {condition.planned}", number=len(condition.cells), digits=0),
            _with_paper(spread, condition, tables, "mean") if condition.cells else Entry("no result"),
            _entry(condition.invalid()),
        ]
        if summary.has_ranks:
            row.append(_entry(condition.overall("rank")))
        if with_sources:
            row.append(_entry(condition.wssp()))
        row.append(Entry(number=condition.parameters(), digits=0))
        rows.append(row)
    if summary.majority:
        line = [Entry(MAJORITY) if axis == "scheme" else Entry() for axis in _axes(summary)]
        known = [spread.mean for spread in summary.majority.values() if spread.mean is not None]
        full = len(known) == len(summary.tasks)
        line += [Entry(), Entry(number=sum(known) / len(known) if full else None)]
        rows.append(line + [Entry()] * (len(columns) - len(line)))
    return Sheet("means", "Mean over tasks, percent ± standard deviation over seeds", columns, rows)


def _tasks(summary: Summary) -> Sheet:
    tables = tables_of(summary)
    columns = [*_setting_columns(summary), *(Column(task) for task in summary.tasks), Column("mean")]
    rows = []
    for condition in summary.find():
        spreads = {task: condition.task(task) for task in summary.tasks} | {"mean": condition.overall()}
        rows.append(
            [
                *_setting_entries(summary, condition),
                *(_with_paper(spread, condition, tables, plain_task(task)) for task, spread in spreads.items()),
            ]
        )
    if summary.majority:
        line = [Entry(MAJORITY) if axis == "scheme" else Entry() for axis in _axes(summary)]
        line += [_entry(summary.majority.get(task, Spread(None, None, 0))) for task in summary.tasks]
        rows.append([*line, Entry()])
    return Sheet("tasks", "Primary metric of each task, percent ± standard deviation over seeds", columns, rows)


def _statements(verdicts: Sequence[Verdict]) -> Sheet:
    columns = [_text("place"), _text("the paper says"), _text("ours"), _text("verdict")]
    rows = [
        [
            Entry(verdict.where),
            Entry(verdict.text, notes=tuple(verdict.footnotes)),
            Entry(verdict.ours),
            Entry(verdict.verdict),
        ]
        for verdict in verdicts
    ]
    return Sheet("statements", "What the paper says in words", columns, rows)


def _printed(summary: Summary, table: PaperTable) -> Sheet:
    """A table of the paper, with our rows under it."""
    columns = [_text("method"), _text("from"), *(Column(column) for column in table.columns)]
    rows = []
    for method in table.rows:
        row = [Entry(method), Entry("paper")]
        for column in table.columns:
            deviation = table.deviations.get(method) if column == "mean" else None
            row.append(
                Entry(
                    number=table.value(method, column),
                    deviation=deviation,
                    digits=1 if table.table == "Table 2" else 2,
                    notes=tuple(table.notes(method, column)),
                )
            )
        rows.append(row)
    named = {plain_task(task): task for task in summary.tasks}
    for condition in summary.find(shots=table.shots):
        spreads = [
            condition.overall() if column == "mean" else condition.task(named[column]) for column in table.columns
        ]
        rows.append([Entry(_name(summary, condition)), Entry("here"), *(_entry(spread) for spread in spreads)])
    name = table.table.lower().replace(",", "").replace(" ", "-")
    return Sheet(f"paper-{name}", f"{table.table} of the paper: {table.title}, with our rows", columns, rows)


def _metrics(summary: Summary) -> Sheet:
    columns = [*_setting_columns(summary), _text("task"), _text("metric"), _text("answers")]
    columns += [Column("value"), Column("invalid"), Column("seeds"), Column("rows")]
    rows = []
    for condition in summary.find():
        found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for decode in ("generate", "rank"):
            for cell_rows in condition.rows(decode):
                for row in cell_rows:
                    metric = row["metric"] + (" *" if row["primary"] else "")
                    found.setdefault((row["task"], metric, decode), []).append(row)
        for (task, metric, decode), same in found.items():
            value = Spread.of(row["value"] for row in same)
            names = [Entry(task), Entry(metric), Entry({"generate": "generated", "rank": "ranked"}[decode])]
            rows.append(
                [
                    *_setting_entries(summary, condition),
                    *names,
                    _entry(value),
                    _entry(Spread.of(row["invalid_rate"] for row in same)),
                    Entry(number=value.count, digits=0),
                    Entry(number=min(row["count"] for row in same), digits=0),
                ]
            )
    return Sheet("metrics", "Every metric; * marks the primary one, which the means are of", columns, rows)


def _prompts(summary: Summary) -> Sheet:
    """Prompts in numbers: equation 3, weights, parameters and cost."""
    conditions = [condition for condition in summary.find() if any(condition.banks())]
    costs = list(dict.fromkeys(key for condition in conditions for key in _costs(condition)))
    columns = [*_setting_columns(summary), Column("WSSP"), Column("trainable parameters")]
    columns += [Column(f"{plain_task(task)}: weight on sources") for task in summary.tasks]
    columns += [Column(key.replace("_", " ")) for key in costs]
    rows = []
    for condition in conditions:
        wssp = condition.wssp()
        found = _costs(condition)
        rows.append(
            [
                *_setting_entries(summary, condition),
                _entry(wssp),
                Entry(number=condition.parameters(), digits=0),
                *(_entry(condition.source_weight(task)) for task in summary.tasks),
                *(Entry(number=found.get(key), digits=0) for key in costs),
            ]
        )
    return Sheet("prompts", "Prompts: similarity, attention weights in percent, parameters, cost", columns, rows)


def _costs(condition: Condition) -> dict[str, float]:
    """The numbers of the inference cost, the first bank's of the first cell: all seeds cost the same."""
    bank = next(bank for banks in condition.banks() for bank in banks)
    cost = bank.get("inference_cost")
    return {
        key: value
        for key, value in (cost.items() if isinstance(cost, dict) else ())
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _axes(summary: Summary) -> list[str]:
    return ["scheme", *(axis for axis in summary.varying if axis != "scheme")]


def _setting_columns(summary: Summary) -> list[Column]:
    numeric = {
        axis: all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        for axis, values in summary.varying.items()
    }
    return [
        Column("scheme" if axis == "scheme" else axis_name(axis), axis != "scheme" and numeric[axis])
        for axis in _axes(summary)
    ]


def _setting_entries(summary: Summary, condition: Condition) -> list[Entry]:
    values = [condition.settings[axis] for axis in _axes(summary)]
    return [
        Entry(show(value), number=value if isinstance(value, int | float) and not isinstance(value, bool) else None)
        for value in values
    ]


def _name(summary: Summary, condition: Condition) -> str:
    others = [show(condition.settings[axis]) for axis in _axes(summary) if axis not in ("scheme", "shots")]
    return ", ".join([condition.scheme, *others])


def _with_paper(spread: Spread, condition: Condition, tables: list[PaperTable], column: str) -> Entry:
    table = table_of(condition, tables)
    row = table.row(condition.scheme) if table else ""
    if table is None or table.value(row, column) is None:
        return _entry(spread)
    return Entry(
        text="" if spread.mean is not None else "undefined",
        number=spread.mean,
        deviation=spread.deviation,
        printed=table.value(row, column),
        printed_deviation=table.deviations.get(row) if column == "mean" else None,
        notes=tuple(table.notes(row, column)),
    )


def _entry(spread: Spread) -> Entry:
    return Entry("" if spread.mean is not None else "undefined", spread.mean, spread.deviation)


def _text(heading: str) -> Column:
    return Column(heading, numeric=False)
