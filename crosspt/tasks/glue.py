"""The eight GLUE tasks of the paper's group 1, with T5's label words."""

from crosspt.tasks.task import Task

_HUB = "nyu-mll/glue"

COLA = Task(
    name="cola",
    fields=("sentence",),
    labels=("unacceptable", "acceptable"),
    metrics=("accuracy", "matthews"),
    hub=_HUB,
    hub_config="cola",
    test_labels_public=False,
)

SST2 = Task(
    name="sst2",
    fields=("sentence",),
    labels=("negative", "positive"),
    hub=_HUB,
    hub_config="sst2",
    test_labels_public=False,
)

# The hub's copy takes MRPC's test rows from Microsoft's own release, which has the labels.
MRPC = Task(
    name="mrpc",
    fields=("sentence1", "sentence2"),
    labels=("not_equivalent", "equivalent"),
    metrics=("accuracy", "f1"),
    hub=_HUB,
    hub_config="mrpc",
)

QQP = Task(
    name="qqp",
    fields=("question1", "question2"),
    labels=("not_duplicate", "duplicate"),
    metrics=("accuracy", "f1"),
    hub=_HUB,
    hub_config="qqp",
    test_labels_public=False,
)

STSB = Task(
    name="stsb",
    fields=("sentence1", "sentence2"),
    metrics=("pearson", "spearman"),
    regression=True,
    hub=_HUB,
    hub_config="stsb",
    test_labels_public=False,
)

MNLI = Task(
    name="mnli",
    fields=("premise", "hypothesis"),
    labels=("entailment", "neutral", "contradiction"),
    hub=_HUB,
    hub_config="mnli",
    hub_splits={"train": "train", "validation": "validation_matched", "test": "test_matched"},
    test_labels_public=False,
)

QNLI = Task(
    name="qnli",
    fields=("question", "sentence"),
    labels=("entailment", "not_entailment"),
    hub=_HUB,
    hub_config="qnli",
    test_labels_public=False,
)

RTE = Task(
    name="rte",
    fields=("sentence1", "sentence2"),
    labels=("entailment", "not_entailment"),
    hub=_HUB,
    hub_config="rte",
    test_labels_public=False,
)

GLUE_TASKS = (COLA, SST2, MRPC, QQP, STSB, MNLI, QNLI, RTE)
