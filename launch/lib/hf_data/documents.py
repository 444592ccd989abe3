"""The documents of text files, cut as data/documents.h cuts them."""
import json


class Bad(Exception):
    """An input that is refused; the message names file and place."""


BLANK = " \t\r\n\v\f"


def without_line_end(line):
    line = line[:-1] if line.endswith("\n") else line
    return line[:-1] if line.endswith("\r") else line


def lines(path):
    """Number and text of each line, with its line end."""
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            yield from enumerate(file, start=1)
    except UnicodeDecodeError as error:
        raise Bad(f"{path}: is not UTF-8 ({error.reason}): convert the text") from None
    except OSError as error:
        raise Bad(f"{path}: cannot be read ({error.strerror})") from None


def blocks(path):
    """What stands between blank lines."""
    block = ""
    for _, line in lines(path):
        if line.strip(BLANK):
            block += line
            continue
        if block:
            yield without_line_end(block)
        block = ""
    if block:
        yield without_line_end(block)


def refuse_twice(pairs):
    keys = [key for key, _ in pairs]
    if len(keys) != len(set(keys)):
        raise ValueError("a key appears twice")
    return dict(pairs)


def refuse_constant(name):
    raise ValueError(f"{name} is no JSON")


def json_text(path, number, line, key):
    try:
        value = json.loads(line, object_pairs_hook=refuse_twice, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Bad(f"{path}: line {number}: bad JSON: {error}") from None
    if not isinstance(value, dict):
        raise Bad(f"{path}: line {number}: expected a JSON object")
    text = value.get(key)
    if not isinstance(text, str):
        raise Bad(f"{path}: line {number}: field '{key}': expected a string")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise Bad(f"{path}: line {number}: field '{key}': holds half of a character (a surrogate)")
    return text


def documents(path, form, key):
    """The texts of the documents of a file that have one."""
    if form == "file" and not key:
        text = "".join(line for _, line in lines(path))
        if text:
            yield text
    elif form == "blank-line" and not key:
        yield from blocks(path)
    else:
        for number, line in lines(path):
            if line.strip(BLANK):
                text = json_text(path, number, line, key) if key else without_line_end(line)
                if text:
                    yield text
