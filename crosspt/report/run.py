"""What is known of one run: its settings, results, answers by class, weights and cost."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import to_hex
from sklearn.metrics import precision_recall_fscore_support

from crosspt.config.files import SCHEMA
from crosspt.config.layout import PREDICTIONS_NAME, RESULTS_NAME, RUN_NAME
from crosspt.config.run import CROSSPT, RunConfig
from crosspt.evaluation.analysis import analyse
from crosspt.evaluation.answers import GROUP, Asked, Predictions, read_predictions
from crosspt.evaluation.results import read_results
from crosspt.methods import find_method
from crosspt.report.table import Entry, Row, Table
from crosspt.tasks.values import same_text

INVALID = "no label"
"""The column of a confusion matrix for answers that are none of the task's."""


def read_run(folder: Path, run: RunConfig) -> dict[str, Any]:
    """Settings, results and banks of a run's folder, or of one with saved prompts alone; plain JSON values.

    Args:
        folder: the folder.
        run: its settings, from :func:`crosspt.runs.evaluate.open_checkpoint`.

    Returns:
        ``config``; ``banks``, from :func:`crosspt.evaluation.analysis.analyse`; and of a finished run ``results``,
        ``seconds``, ``versions``, ``environment``, ``method`` and, where prompts were selected, ``selection``.

    Raises:
        ValueError: a file cannot be read; the message names it.
    """
    content: dict[str, Any] = {"schema": SCHEMA, "config": run.to_dict(), "finished": False}
    content["banks"] = analyse(find_method(run.method), folder, run.prompts.tasks)
    if (folder / RESULTS_NAME).is_file():
        results = read_results(folder / RESULTS_NAME)
        kept = ("results", "seconds", "versions", "environment", "selection", "method")
        content |= {"finished": True} | {name: results[name] for name in kept if name in results}
    return content


def facts_table(folder: Path, run: RunConfig, content: Mapping[str, Any]) -> Table:
    """What was learned, from what, and what it costs."""
    prompts, training, data = run.prompts, run.training, run.data
    learned = f"scheme {run.scheme}" if run.method == CROSSPT else f"method {run.method}"
    facts = {"learned": learned, "model": run.model, "tasks": ", ".join(prompts.tasks)}
    if run.extends is not None:
        facts["extends"] = f"{run.extends.folder}, whose tasks {', '.join(run.extends.tasks)} are as they were"
    if (folder / RUN_NAME).is_file():
        shots, method = "all rows" if data.shots is None else f"{data.shots} rows a task", find_method(run.method)
        if run.method == CROSSPT:
            rates = ", ".join(f"{group} {rate:g}" for group, rate in training.learning_rates(prompts).items())
        else:
            rates = f"{training.learning_rate or method.defaults['learning_rate']:g}"
        epochs = method.epochs(prompts, training)
        facts |= {
            "rows": f"{shots}, data seed {data.data_seed}",
            "training": f"epochs {epochs}, batch size {training.batch_size}, seed {training.seed}",
            "learning rates": rates,
        }
    if content["banks"]:
        encoder = "no encoder" if prompts.encoder == "none" else f"{prompts.encoder} encoder"
        cost = content["banks"][0]["inference_cost"]
        numbers = sum(bank["trainable_parameters"] for bank in content["banks"])
        facts |= {
            "prompts": f"{prompts.prompt_length} rows a task, {encoder}, {prompts.prefix_mode} prefix",
            "learned numbers": f"{numbers:,}",
            "cost of a task's prompt": ", ".join(f"{cost[name]:,} {name.replace('_', ' ')}" for name in cost),
        }
    facts |= {
        f"selected, {chosen['folder']}": f"step {chosen['step']}, score {chosen['score']:.1f} on development rows"
        for chosen in content.get("selection", [])
    }
    if content["finished"]:
        known = ("crosspt", "torch", "transformers")
        facts |= {
            "made by": " ".join(content["environment"]["command"]),
            "with": ", ".join(f"{name} {content['versions'].get(name)}" for name in known),
            "seconds": ", ".join(f"{name} {value:,.0f}" for name, value in content["seconds"].items()),
        }
    elif (folder / RUN_NAME).is_file():
        facts["state"] = "not finished: crosspt train --resume goes on"
    return Table("facts", str(folder), [{"what": name, "": value} for name, value in facts.items()])


def weights_tables(banks: Sequence[Mapping[str, Any]]) -> Iterator[Table]:
    """A bank's weights of each candidate, coloured where there are colours, a row for each task."""
    for bank in banks:
        where = "" if bank["folder"] == "." else f", {bank['folder']}"
        wssp = "" if bank["wssp"] is None else f"; weighted similarity to the sources {bank['wssp']:.1f} %"
        rows = [
            {"task": task, **dict(zip(bank["candidates"], map(_weight, weights), strict=True))}
            for task, weights in zip(bank["tasks"], bank["weights"], strict=True)
        ]
        yield Table("weights", f"weights of each task's candidates{where}{wssp}", rows)


def _weight(weight: float) -> Entry:
    shade = to_hex(colormaps["viridis"](weight))
    return Entry(weight, digits=2, style=f"{'white' if weight < 0.6 else 'black'} on {shade}")


def weights_frame(banks: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The weights of all banks that mix the candidates of the first: tasks x candidates.

    Raises:
        ValueError: there is no bank.
    """
    if not banks:
        raise ValueError("there are no weights to draw: the run mixes no prompts")
    candidates = banks[0]["candidates"]
    same = [bank for bank in banks if bank["candidates"] == candidates]
    return pd.concat([pd.DataFrame(bank["weights"], bank["tasks"], candidates) for bank in same])


def class_tables(folder: Path, tasks: Sequence[str] = ()) -> list[Table]:
    """For each task, scheme and way of decoding: a line for each class, with what its rows were answered.

    Args:
        folder: of a finished run or an evaluation.
        tasks: names of tasks; by default all that have classes.

    Raises:
        ValueError: there are no answers, or none to one of the tasks, or it has no classes.
    """
    if not (folder / PREDICTIONS_NAME).is_file():
        raise ValueError(f"{folder} holds no {PREDICTIONS_NAME}: the run is not finished")
    predictions = read_predictions(folder / PREDICTIONS_NAME)
    unknown = [name for name in tasks if name not in predictions.tasks]
    if unknown:
        raise ValueError(f"{folder} has no answers to {', '.join(unknown)}; it has to {', '.join(predictions.tasks)}")
    without = [name for name in tasks if not predictions.tasks[name].task.labels]
    if without:
        raise ValueError(f"{', '.join(without)}: scores and free text have no classes")
    return list(_class_tables(predictions, tasks or list(predictions.tasks)))


def _class_tables(predictions: Predictions, tasks: Sequence[str]) -> Iterator[Table]:
    for (scheme, task, decode), rows in predictions.rows.groupby(GROUP, observed=True, sort=False):
        asked = predictions.tasks[task]
        if task in tasks and asked.task.labels:
            title = f"{task}, {scheme}, {decode}: answers to the rows of each class"
            yield Table(f"classes-{task}-{scheme}-{decode}", title, _classes(asked, rows))


def _classes(asked: Asked, rows: pd.DataFrame) -> list[Row]:
    spelled = {same_text(word): word for word in asked.answers}
    words = [*asked.answers]
    right, given = ([spelled.get(same_text(text), INVALID) for text in rows[side]] for side in ("reference", "answer"))
    confusion = pd.crosstab(pd.Series(right), pd.Series(given)).reindex(index=words, columns=[*words, INVALID])
    scores = precision_recall_fscore_support(right, given, labels=words, zero_division=0)
    lines = []
    for word, precision, recall, f1, count in zip(words, *scores, strict=True):
        counts = {f"as {answer}": int(number) for answer, number in confusion.loc[word].fillna(0).items()}
        percents = {"precision": precision, "recall": recall, "f1": f1}
        lines.append(
            {"class": word, "rows": int(count), **{name: Entry(100 * float(value)) for name, value in percents.items()}}
            | counts
        )
    if not any(line[f"as {INVALID}"] for line in lines):
        for line in lines:
            del line[f"as {INVALID}"]
    return lines
