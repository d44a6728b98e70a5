"""The tasks of the paper's group 2; MRPC, its seventh, is the one of GLUE."""

from crosspt.tasks.scale import SCORE_RANGE
from crosspt.tasks.task import Task

SCITAIL = Task(
    name="scitail",
    fields=("premise", "hypothesis"),
    labels=("entailment", "neutral"),
    label_values=("entails", "neutral"),
    hub="allenai/scitail",
    hub_config="tsv_format",
)

PAWS = Task(
    name="paws",
    fields=("sentence1", "sentence2"),
    labels=("not_paraphrase", "paraphrase"),
    hub="google-research-datasets/paws",
    hub_config="labeled_final",
)

IMDB = Task(
    name="imdb",
    fields=("text",),
    labels=("negative", "positive"),
    hub="stanfordnlp/imdb",
    hub_splits={"train": "train", "test": "test"},
)

YELP_POLARITY = Task(
    name="yelp_polarity",
    fields=("text",),
    labels=("negative", "positive"),
    hub="fancyzhx/yelp_polarity",
    hub_splits={"train": "train", "test": "test"},
)

MULTI_NLI = Task(
    name="multi_nli",
    fields=("premise", "hypothesis"),
    labels=("entailment", "neutral", "contradiction"),
    hub="nyu-mll/multi_nli",
    hub_splits={"train": "train", "validation": "validation_matched"},
    data_folders=("multi_nli", "mnli"),
)

STSB2 = Task(
    name="stsb2",
    fields=("sentence1", "sentence2"),
    labels=("low", "medium", "high"),
    bin_edges=(SCORE_RANGE[1] / 3, SCORE_RANGE[1] * 2 / 3),
    hub="nyu-mll/glue",
    hub_config="stsb",
    test_labels_public=False,
    data_folders=("stsb2", "stsb"),
)

GROUP2_TASKS = (SCITAIL, PAWS, IMDB, YELP_POLARITY, MULTI_NLI, STSB2)
