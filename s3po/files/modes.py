"""Parses the modes of Connection.open(): 'rb', 'r', 'wb', 'w', 'xb', 'x'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from s3po.errors import ConfigurationError

__all__ = ['OpenMode', 'open_mode']

WHY_NOT: Final = {
    'a': 'objects do not support appending; read the object and write it again',
    '+': 'an object is opened either for reading or for writing; open it twice',
    'U': "Python's open() has no such mode any more either; leave the letter out",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenMode:
    """A parsed mode.

    Attributes:
        action: 'r', 'w' or 'x'.
        is_text: Whether the file reads or writes str, not bytes.
    """

    action: str
    is_text: bool

    @property
    def binary(self) -> str:
        """The mode of the binary file under a text file."""
        return f'{self.action}b'


def open_mode(mode: object, *, encoding: str | None, errors: str | None, newline: str | None) -> OpenMode:
    """Parse a mode, and check that encoding, errors and newline fit it.

    Raises:
        ConfigurationError: The mode is unknown, or it is binary and encoding, errors or newline is set.
    """
    letters = mode if isinstance(mode, str) else ''
    for letter, reason in WHY_NOT.items():
        if letter in letters:
            raise ConfigurationError(f'mode {mode!r}: {reason}')
    actions = [letter for letter in letters if letter in 'rwx']
    kinds = [letter for letter in letters if letter in 'bt']
    if 'r' in actions and len(set(actions)) > 1:
        raise ConfigurationError(f'mode {mode!r}: {WHY_NOT["+"]}')
    if len(actions) != 1 or len(kinds) > 1 or len(letters) > len(actions) + len(kinds):
        raise ConfigurationError(f"mode must be 'rb', 'r', 'wb', 'w', 'xb' or 'x', not {mode!r}")
    is_text = kinds != ['b']
    for name, value in (('encoding', encoding), ('errors', errors), ('newline', newline)):
        if value is not None and not is_text:
            raise ConfigurationError(f"{name} is for text mode; mode {mode!r} reads and writes bytes (leave out the 'b')")
    return OpenMode(action=actions[0], is_text=is_text)
