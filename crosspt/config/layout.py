"""Names of the files and folders of a run, and of an experiment."""

RUN_NAME = "run.json"
RESULTS_NAME = "results.json"
METHOD_NAME = "method_config.json"  # beside the weights that a method other than CrossPT has learned
SELECTION_NAME = "selection.json"  # of a bank whose prompts were selected: the step, and all scores by step
PREDICTIONS_NAME = "predictions.parquet"  # beside the results, which are computed from it
SOURCES = "stage1"  # folder of the banks that train source prompts, in a run or shared by the cells of an experiment
TASKS = "tasks"  # folder of the YAML files of tasks that are not built in
TARGETS = "targets"  # folder of the targets that have a bank of their own
EXTENDED = "extended"  # folder of the run that tasks were added to, as it was
CHECKPOINTS = "checkpoints"  # of a bank in training
LOGS = "logs"  # folder of what TensorBoard or Weights & Biases draws

EXPERIMENT_NAME = "experiment.json"
CELLS = "cells"  # folder of an experiment's runs
CELL_NAME = "cell.json"
ERROR_NAME = "error.json"
LOG_NAME = "log.txt"
LOCK_NAME = ".lock"
