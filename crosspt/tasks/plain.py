"""Two tasks in plain English for models that were pretrained on English: short sentences made of templates and words.

The words that fill the templates of training rows are not those of the rows to report on.
"""

import random
from functools import cache, partial
from string import Formatter
from typing import Any

from crosspt.tasks.task import Task

ROWS = {"train": 200, "validation": 100, "test": 200}
"""Rows of each split, as many of each label, from which a run draws its own."""

WORDS = {
    "place": "hotel café museum bakery theatre hostel library garden cinema restaurant pub gallery spa market",
    "thing": "film novel concert lecture phone jacket tour meal show camera game album bicycle lamp",
    "part": "service food staff music lighting sound price view design colour seats finish menu battery",
    "who": "my-sister our-guide my-neighbour a-friend the-children my-boss her-uncle the-whole-group",
    "good": "lovely wonderful marvellous delightful superb charming brilliant splendid great beautiful perfect",
    "bad": "nasty terrible dreadful boring poor disappointing horrible dull bad useless miserable",
    "team": "Rovers United the-Hawks the-Tigers the-Bears City the-Sharks the-Wolves",
    "sport": "football tennis basketball rugby hockey cricket volleyball baseball",
    "dish": "soup curry bread pancakes stew pasta risotto dumplings omelette pie",
    "taste": "garlic butter pepper cream basil ginger honey lemon parsley cheese",
    "sky": "rain snow fog thunderstorms sunshine frost hail drizzle wind sleet",
    "where": "the-north the-coast the-valley the-hills the-south the-islands the-east the-lakes",
    "when": "tonight tomorrow on-Sunday by-noon on-Friday this-week at-dawn all-weekend",
    "bank": "shares loans interest-rates bonds mortgages taxes wages dividends prices pensions",
    "move": "rose fell doubled slipped climbed dropped recovered sank",
}

MOOD = {
    "negative": """
        the {thing} was {bad}|what a {bad} {place}|{who} found the {part} {bad}
        i regret buying this {bad} {thing}|we left the {place} early because the {part} was {bad}
        the {part} at the {place} was simply {bad}|{who} will never return to that {place}
        the {thing} was not {good} at all|a {bad} {thing} that wasted our evening
    """,
    "positive": """
        the {thing} was {good}|what a {good} {place}|{who} found the {part} {good}
        i am so happy with this {good} {thing}|we stayed late at the {place} because the {part} was {good}
        the {part} at the {place} was simply {good}|{who} cannot wait to return to that {place}
        the {thing} was not {bad} at all|a {good} {thing} that made our evening
    """,
}
TOPIC = {
    "sports": """
        {team} won the {sport} match|the {sport} final against {team} begins {when}|{who} scored twice for {team}
        {team} signed a new {sport} coach|fans of {team} cheered as the {sport} season began
    """,
    "food": """
        add the {taste} to the {dish} and stir|{who} cooked {dish} with {taste}|serve the {dish} warm with {taste}
        this {dish} needs more {taste}|bake the {dish} with {taste} for an hour|the recipe for {dish} calls for {taste}
    """,
    "weather": """
        expect {sky} in {where} {when}|{sky} will reach {where} {when}|{who} got caught in the {sky} near {where}
        forecasters warn of {sky} in {where}|after days of {sky} it will be milder in {where}
    """,
    "finance": """
        {bank} {move} sharply after the announcement|analysts expect that {bank} will change {when}
        {who} worries about {bank}|the central bank said that {bank} {move} again|investors sold as {bank} {move}
    """,
}


@cache  # a process that does several runs draws the rows once
def generate_rows(name: str, split: str) -> list[dict[str, Any]]:
    """The rows of a split of a task, the same on every machine and of no other split."""
    kinds = list({"plain_mood": MOOD, "plain_topic": TOPIC}[name].values())
    trained = split == "train"
    drawn = random.Random(f"{name} {trained}")
    splits = ["train"] if trained else ["validation", "test"]
    rows: dict[str, int] = {}
    while len(rows) < sum(ROWS[one] for one in splits):
        label = len(rows) % len(kinds)
        rows.setdefault(_fill(drawn, kinds[label], trained), label)
    first = 0 if splits[0] == split else ROWS[splits[0]]
    found = [{"sentence": sentence, "label": label} for sentence, label in rows.items()]
    return found[first : first + ROWS[split]]


def _fill(drawn: random.Random, templates: str, trained: bool) -> str:
    """A sentence: every other word of a list is for training rows, the rest for the others."""
    template = drawn.choice([one.strip() for line in templates.strip().splitlines() for one in line.split("|")])
    slots = {slot for _, slot, _, _ in Formatter().parse(template) if slot}
    chosen = {slot: drawn.choice(WORDS[slot].split()[int(not trained) :: 2]) for slot in sorted(slots)}
    return template.format(**chosen).replace("-", " ")


PLAIN_TASKS = (
    Task(
        name="plain_mood",
        fields=("sentence",),
        labels=tuple(MOOD),
        prefix="is the mood of the sentence negative or positive",
        generate=partial(generate_rows, "plain_mood"),
    ),
    Task(
        name="plain_topic",
        fields=("sentence",),
        labels=tuple(TOPIC),
        prefix="is the sentence about sports, food, weather or finance",
        generate=partial(generate_rows, "plain_topic"),
    ),
)
