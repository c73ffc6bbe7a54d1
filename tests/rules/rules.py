# SPDX-License-Identifier: MIT
"""The specification's rules for drivers, and what becomes of each here: the tables in this folder.

A rule has the number and title of its section in virtio 1.2, what it says in our words, and how many
of the specification's MUST and MUST NOT that is (`must`, 1 if left out). Then one of

    test         the test that fails when the rule is broken, in tests/
    untestable   why no test could
    otherwise    why it is not kept to the letter

and with a test, the smallest change to the library that breaks the rule, which `make mutants` makes:
`find` is replaced by `replace`, in the one file of lib/virtio that has it; `within` says of which file,
by a text of it, where there are several. Whole lines begin with a newline. `note` says more.

`python tests/rules/rules.py` checks the tables against the tree; `make check` runs it.
"""

import ast
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
LIBRARY = TESTS.parent / "lib/virtio"
README = TESTS.parent / "README.md"

# The sections with rules for drivers of what stands here, and how many MUST and MUST NOT each has.
SECTIONS = {
    "2.1.1": 3,
    "2.2.1": 3,
    "2.2.3": 2,
    "2.4.2": 0,
    "2.5.1": 3,
    "2.6.1.1.2": 1,
    "2.6.1.2.2": 1,
    "2.7.1": 1,
    "2.7.2": 3,
    "2.7.3": 1,
    "2.7.4.2": 1,
    "2.7.5.2": 2,
    "2.7.5.3.1": 5,
    "2.7.6.1": 1,
    "2.7.7.1": 3,
    "2.7.8.2": 1,
    "2.7.10.1": 5,
    "2.7.13.3.1": 1,
    "2.7.13.4.1": 1,
    "2.8.11": 1,
    "2.8.16": 3,
    "2.8.17": 6,
    "2.8.19": 4,
    "2.8.21.1.1": 1,
    "2.8.21.3.1": 1,
    "3.1.1": 5,
    "3.1.2": 1,
    "3.3.1": 2,
    "4.2.2.2": 19,
    "4.2.3.1.1": 6,
    "4.2.3.4.1": 2,
    "5.1.4.2": 4,
    "5.1.4.3": 1,
    "5.1.6.1": 1,
    "5.1.6.2.1": 15,
    "5.1.6.3.1": 1,
    "5.1.6.5.1.2": 2,
    "5.1.6.5.2.2": 2,
    "5.1.6.5.2.3": 1,
    "5.1.6.5.3.1": 1,
    "5.1.6.5.4.1": 1,
    "5.1.6.5.6.1": 4,
    "5.1.6.5.6.3": 1,
    "5.1.6.5.7.2": 5,
    "5.1.6.5.8.2": 1,
    "5.1.6.5.8.3": 1,
    "5.1.6.6": 4,
    "5.2.4.1": 1,
    "5.2.5.1": 1,
    "5.3.4.1": 1,
    "5.3.6.1": 2,
    "5.3.6.2.2": 3,
    "5.3.6.3": 1,
    "5.3.6.4": 1,
    "5.2.6.1": 12,
    "5.2.6.3": 2,
    "5.2.6.4": 3,
    "5.4.6.1": 2,
    "6.1": 6,
    "6.3": 1,
}
# The chapter of each device type that a driver may have; None where the specification has no rules.
CHAPTERS = {1: "5.1", 2: "5.2", 3: "5.3", 4: "5.4", 9: None}


@dataclass
class Rule:
    section: str
    title: str
    rule: str
    must: int = 1
    test: str = ""
    untestable: str = ""
    otherwise: str = ""
    note: str = ""
    within: str = ""
    find: str = ""
    replace: str = ""
    find2: str = ""
    replace2: str = ""

    def __str__(self):
        return f"{self.section} {self.title}: {self.rule}"

    @property
    def changes(self):
        pairs = [(self.find, self.replace), (self.find2, self.replace2)]
        return [(find, replace) for find, replace in pairs if find]


def load():
    rules = []
    for path in sorted(Path(__file__).parent.glob("*.toml")):
        for entry in tomllib.loads(path.read_text())["rule"]:
            rules.append(Rule(**entry))
    return rules


def problems(rules):
    """What is wrong with the tables, a line each."""
    for rule in rules:
        if bool(rule.test) + bool(rule.untestable) + bool(rule.otherwise) != 1:
            yield f"{rule}: wants one of test, untestable, otherwise"
        if rule.test and rule.test not in tests():
            yield f"{rule}: there is no {rule.test}"
        if rule.test and not rule.changes:
            yield f"{rule}: wants a change that breaks it"
        try:
            mutants(rule)
        except LookupError as error:
            yield f"{rule}: {error}"
    for section, count in SECTIONS.items():
        have = sum(rule.must for rule in rules if rule.section == section)
        if have != count:
            yield f"section {section} has {count} MUSTs, and the tables have {have}"
    for section in {rule.section for rule in rules} - set(SECTIONS):
        yield f"section {section} is not known"
    for path in LIBRARY.rglob("*.py"):
        for number in re.findall(r"^    TYPE = (\d+)$", path.read_text(), re.M):
            chapter = CHAPTERS.get(int(number), f"of device type {number}")
            if chapter and not any(name.startswith(chapter + ".") for name in SECTIONS):
                yield f"{path.name} drives a device whose rules, {chapter}, are not in the tables"
    words = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", README.read_text().replace("\n", " "))
    if summary(rules) not in words:
        yield f'README.md does not say: "{summary(rules)}"'


def tests():
    """All test functions, as the tables name them."""
    if not hasattr(tests, "names"):
        tests.names = {
            f"{path.relative_to(TESTS)}::{node.name}"
            for path in TESTS.rglob("test_*.py")
            for node in ast.parse(path.read_bytes()).body
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        }
    return tests.names


def places(rule, find):
    """The library's files that have the text of a rule, just once each."""
    return [
        path
        for path in sorted(LIBRARY.rglob("*.py"))
        if path.read_text().count(find) == 1 and rule.within in path.read_text()
    ]


def mutants(rule):
    """The library's files as a rule's change makes them: {path in the package: text}.

    Raises `LookupError` where the text that is to be changed is not there, or more than once.
    """
    texts = {}
    for find, replace in rule.changes:
        found = places(rule, find)
        if len(found) != 1:
            raise LookupError(f"{len(found)} files of the library have\n{find}")
        (path,) = found
        name = str(path.relative_to(LIBRARY))
        texts[name] = texts.get(name, path.read_text()).replace(find, replace)
    return texts


def summary(rules):
    """What README says of it."""
    tested = sum(rule.must for rule in rules if rule.test)
    untestable = sum(rule.must for rule in rules if rule.untestable)
    otherwise = sum(rule.must for rule in rules if rule.otherwise)
    total = sum(SECTIONS.values())
    text = (
        f"{total} rules for drivers, of which {tested} have a test that fails when they are broken,"
        f" and {untestable} cannot be tested"
    )
    if otherwise:
        text += f"; {otherwise} are not kept to the letter"
    return text


def main():
    found = list(problems(load()))
    for problem in found:
        print("tests/rules:", problem, file=sys.stderr)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
