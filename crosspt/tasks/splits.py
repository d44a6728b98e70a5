"""Finds the files of a split in a task's folder, as people name them and as the hub lays out a dataset."""

import re
from pathlib import Path

from crosspt.tasks.files import SUFFIXES, split_suffix
from crosspt.tasks.values import one_line

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
PLACES = (".", "data", "plain_text", "default")
"""Folders that hold the files: the task's own, and those that datasets on the hub have."""

_SHARD = re.compile(r"(.+)-(\d+)-of-(\d+)(-[0-9a-f]+)?")


def find_split(folder: Path, split: str, hub_split: str | None = None, hub_config: str | None = None) -> list[Path]:
    """Returns the files of a split, shards in their order; none where there is no such split.

    A file is called after the split (`dev.tsv` for validation too, upper or lower case), a shard
    `train-00000-of-00002.parquet`, and a folder of the split's name holds shards of any name. They lie in the folder
    itself or in one below it that is called data, plain_text, default or like the task's configuration on the hub.

    Args:
        folder: the task's folder.
        split: train, validation or test.
        hub_split: what the task calls the split on the hub, such as validation_matched.
        hub_config: the task's configuration on the hub.

    Raises:
        ValueError: when two files claim to be the split, a shard is missing, or a folder cannot be read.
    """
    names = split_names(split, hub_split)
    found: dict[tuple[Path, str], list[Path]] = {}
    for place in dict.fromkeys((*PLACES, hub_config or ".")):
        for path in list_folder(folder / place):
            if path.is_dir():
                inside = list_folder(path) if path.name.lower() in names else []
                for shard in inside:
                    if split_suffix(shard.name)[1]:
                        found.setdefault((path, split_suffix(shard.name)[1]), []).append(shard)
                continue
            stem, suffix = split_suffix(path.name)
            shard_of = _SHARD.fullmatch(stem)
            if suffix and (shard_of[1] if shard_of else stem) in names:
                key = f"{shard_of[1]} of {shard_of[3]}{suffix}" if shard_of else path.name
                found.setdefault((path.parent, key), []).append(path)
    if len(found) > 1:
        one, other, *_ = (paths[0] for paths in found.values())
        raise ValueError(f"{one} and {other} both hold a {split} split; keep one of them")
    files = next(iter(found.values()), [])
    _check_shards(files)
    return files


def split_names(split: str, hub_split: str | None = None) -> list[str]:
    """Returns the names that a split's files may have, lower case: validation, ..., dev, and the hub's own."""
    names = list(SPLIT_NAMES[split])
    if hub_split and hub_split not in {name for known in SPLIT_NAMES.values() for name in known}:
        names += dict.fromkeys(hub_split.lower().replace(split, name) for name in SPLIT_NAMES[split])
    return names


def describe_search(folder: Path, split: str, hub_split: str | None = None) -> str:
    """Returns what was looked for in a folder and what is there, to end an error message with."""
    seen = one_line(", ".join(path.name for path in list_folder(folder))) or "nothing"
    return f"in {folder} as {', '.join(split_names(split, hub_split))} with {', '.join(SUFFIXES)}; it holds {seen}"


def list_folder(folder: Path) -> list[Path]:
    """Returns what a folder holds, by name; nothing where it does not exist.

    Raises:
        ValueError: when it cannot be read.
    """
    try:
        return sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise ValueError(f"{folder}: cannot be read: {error.strerror}") from error


def _check_shards(files: list[Path]) -> None:
    shards = [shard for path in files if (shard := _SHARD.fullmatch(split_suffix(path.name)[0]))]
    for count in {int(shard[3]) for shard in shards}:
        if sorted(int(shard[2]) for shard in shards) != list(range(count)):
            names = one_line(", ".join(path.name for path in files))
            raise ValueError(f"{files[0]}: a split of {count} shards must have each of them once, got {names}")
