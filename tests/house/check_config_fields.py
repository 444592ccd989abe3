#!/usr/bin/env python3
"""Every field of configs/run.proto and configs/cluster.proto is read by code outside configs/.

A field whose name occurs once in the schema is read where its accessor is called. A name that several messages
share (kind, every ...) has to be read from an object of its own message: `model().kind()`, or `x.kind()` where
x is declared as ModelConfig or bound to `model()` in the same file.
"""
import collections
import re

import tree

SCHEMAS = ("run.proto", "cluster.proto")
READERS = ("data", "parallel", "attention", "trainer", "launch")
MESSAGE = re.compile(r"^message (\w+) \{(.*?)^\}", re.MULTILINE | re.DOTALL)
FIELD = re.compile(r"^\s*(?:(?:optional|repeated|required)\s+)?([A-Za-z_][\w.]*)\s+(\w+)\s*=\s*\d+")


def strip_comments(text):
    return re.sub(r"//[^\n]*", "", text)


def schema(text):
    """Message name -> list of (type, field), in order."""
    messages = {}
    for name, body in MESSAGE.findall(strip_comments(text)):
        body = re.sub(r"enum \w+ \{.*?\}", "", body, flags=re.DOTALL)
        messages[name] = [m.groups() for line in body.splitlines() if (m := FIELD.match(line))]
    return messages


def objects_of(message, names, text):
    """Names of variables in `text` that hold a `message`; `names` are the fields that return one."""
    found = set(re.findall(rf"\b{message}\b\s*[&*]?\s*(?:const\s+)?(\w+)", text))
    for name in names:
        found.update(re.findall(rf"(?:auto|{message})\s*[&*]{{0,2}}\s*(\w+)\s*[:=][^;\n]*\b{name}\(\)", text))
        found.update(re.findall(rf"\b(\w+)\s*=\s*&?[\w.>()-]*\b{name}\(\)\s*;", text))
    return found


def is_read(message, field, shared, names, text):
    accessor = rf"(?:has_)?{field}(?:_size)?\("
    if not shared:
        return re.search(rf"[.>]{accessor}", text) is not None
    if any(re.search(rf"\b{name}\((?:\d*|\w+)\)\.{accessor}", text) for name in names):
        return True
    return any(re.search(rf"\b{re.escape(x)}(?:\.|->){accessor}", text)
               for x in objects_of(message, names, text))


def with_header(path):
    """Text of a file, after that of its own header, where members are declared."""
    header = path.with_suffix(".h")
    files = [header, path] if path != header and header.exists() else [path]
    return "\n".join(strip_comments(tree.read(file)) for file in files)


def check(root):
    return [problem for name in SCHEMAS if (root / "configs" / name).exists() for problem in check_schema(root, name)]


def check_schema(root, name):
    messages = schema(tree.read(root / "configs" / name))
    if not messages:
        return [f"configs/{name}: no message found"]
    count = collections.Counter(field for fields in messages.values() for _, field in fields)
    returned_by = collections.defaultdict(set)
    for fields in messages.values():
        for kind, field in fields:
            returned_by[kind].add(field)
    texts = [with_header(path) for folder in READERS for path in tree.own_files(root / folder, tree.CPP)]
    problems = []
    for message, fields in messages.items():
        for kind, field in fields:
            names = returned_by[message] or {"config"}
            if not any(is_read(message, field, count[field] > 1, names, text) for text in texts):
                problems.append(f"configs/{name}: {message}.{field}: no code reads it")
    return problems


if __name__ == "__main__":
    tree.main(__doc__.split("\n", maxsplit=1)[0], check)
