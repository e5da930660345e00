"""What a script raises while it is loaded, in one line that says where and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb

from hfhooks.errors import HfhooksError, LoadError, place
from hfhooks.script.missing import how_to_get
from hfhooks.script.target import Target
from hfhooks.tracebacks import is_users, users_text

__all__ = ["errors_of"]


@contextmanager
def errors_of(target: Target) -> Iterator[None]:
    """Turn what a script raises while it loads into one line that says where and what to do."""
    try:
        yield
    except BaseException as error:
        file, line = _place_of(error) or (target.file, None)
        where = place(file, line) if file else target.name
        if isinstance(error, HfhooksError):
            error.args = (f"{where}: {error}",)
            if isinstance(error, LoadError):
                error.file, error.line = file, line
            raise
        message, help = _explain(error, target, file, line)
        raise LoadError(f"{where}: {message}", help, file, line) from error


def _place_of(error: BaseException) -> tuple[str, int | None] | None:
    """Return file and line of the error in the user's own code."""
    if isinstance(error, SyntaxError) and error.filename:
        return error.filename, error.lineno
    places = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    return next((place for place in reversed(places) if is_users(place[0])), None)


def _explain(
    error: BaseException, target: Target, file: str | None, line: int | None
) -> tuple[str, str | None]:
    kind = type(error).__name__
    if isinstance(error, SystemExit):
        call = "sys.exit()" if error.code is None else f"sys.exit({error.code!r})"
        return (
            f"the script called {call} while it was loading.",
            'Move it under `if __name__ == "__main__":`, which does not run here.',
        )
    if isinstance(error, SyntaxError):
        source = f": {error.text.strip()}" if error.text else ""
        return f"{kind}: {error.msg}{source}", None
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"no module named {error.name!r}", how_to_get(error.name, target, file, line)
    return f"{kind}: {text}" if (text := users_text(error)) else kind, None
