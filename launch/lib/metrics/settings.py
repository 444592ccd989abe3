"""config.textproto of a run folder as nested dictionaries, for tools that know no schema."""
import pathlib

from sweep import textproto

from .history import Bad


def typed(text):
    """A value as it is written in text format."""
    if text in ("true", "false"):
        return text == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text.strip('"')


def read(folder):
    """{"model": {"layers": 4, ...}, ...}."""
    path = pathlib.Path(folder) / "config.textproto"
    try:
        fields = textproto.fields(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise Bad(f"{path}: cannot be read: {error}") from error
    except IndexError as error:
        raise Bad(f"{path}: a '}}' too many: expected what a run writes") from error
    nested = {}
    for name, value in fields.items():
        *blocks, leaf = name.split(".")
        block = nested
        for one in blocks:
            block = block.setdefault(one, {})
        block[leaf] = typed(value)
    return nested
