"""The parts of the command line's parser: types of arguments, suggestions for misspelt words, shell completion."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from .._hints import MissingPackage, needs
from .._printable import printable
from .._suggest import did_you_mean
from ..errors import DataError
from ..storage.files import local_path

_HIGHEST = 2**31
SHELLS = ("bash", "zsh", "tcsh")


# ---- types of arguments ----


def _number(kind: type, lowest: float) -> Callable[[str], Any]:
    """An argparse type: a number from ``lowest`` to 2^31."""

    def parse(text: str) -> Any:
        value = kind(text)
        if not lowest <= value <= _HIGHEST:  # this form rejects nan, too
            raise argparse.ArgumentTypeError(f"{text} is out of range: it must be from {lowest:g} to {_HIGHEST}")
        return value

    parse.__name__ = kind.__name__  # argparse prints it: "invalid int value"
    return parse


positive_int: Callable[[str], Any] = _number(int, 1)
non_negative_int: Callable[[str], Any] = _number(int, 0)
positive_float: Callable[[str], Any] = _number(float, 1e-3)
non_negative_float: Callable[[str], Any] = _number(float, 0)


def utf8_text(text: str) -> str:
    """An argparse type: text that can be sent as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not valid UTF-8") from None
    return text


def model_version(text: str) -> int | str:
    """An argparse type: a version number, or the label of a version."""
    return int(text) if text.isascii() and text.isdigit() else utf8_text(text)


def path_or_url(text: str) -> str:
    """An argparse type. Rejects "", which an unset shell variable gives and which would mean the current directory."""
    if not text:
        raise argparse.ArgumentTypeError("empty path")
    return utf8_text(text)


def path_on_disk(text: str) -> Path:
    """An argparse type: a path on this machine."""
    try:
        return local_path(path_or_url(text))
    except DataError as e:
        raise argparse.ArgumentTypeError(str(e)) from None


def name_and_value(text: str) -> tuple[str, str]:
    """An argparse type: NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return name, value


# ---- the parser ----


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds "(default: …)" to the help of every option that has a default value."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        no_default = action.default is None or action.default is False or action.default == []
        return action.help if no_default else super()._get_help_string(action)


class ShowVersion(argparse.Action):
    """Looks the version up only when it is asked for, which takes as long as all other imports of the parser."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from .. import __version__

        print(f"qdfast {__version__}")
        parser.exit()


class PrintCompletion(argparse.Action):
    """Prints a script that completes commands, options, their values and file names in a shell."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: Any = None) -> NoReturn:
        try:
            with needs("completion"):
                import shtab
        except MissingPackage as e:
            parser.exit(1, f"qdfast: error: {e}\n")
        for action in _actions(parser):
            if action.type in (path_on_disk, path_or_url, Path) or action.dest == "sources":
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        print(shtab.complete(parser, values))
        parser.exit()


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The options and arguments of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)


class Parser(argparse.ArgumentParser):
    """Suggests what a misspelt command, option or value may mean.

    Errors quote arguments, which may be names of files from outside.
    """

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Reject unknown arguments in the parser of the command, which knows the options."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [option for action in self._actions for option in action.option_strings]
            hints = (did_you_mean(word.split("=")[0], options) for word in unknown if word.startswith("-"))
            self.error(f"unrecognized arguments: {' '.join(unknown)}{next(filter(None, hints), '')}")
        return found, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as e:
            hint = did_you_mean(str(value), map(str, action.choices or ()))
            if "maybe you meant" not in e.message:  # Python 3.15's own
                e.message = e.message.replace(" (choose", f"{hint} (choose", 1)
            raise
