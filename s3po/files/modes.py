"""What a mode means: 'rb', 'r', 'wb', 'w', 'xb', 'x'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from s3po.errors import ConfigurationError

__all__ = ['OpenMode', 'open_mode']

WHY_NOT: Final = {
    'a': 'an object cannot be appended to; read it and write it anew',
    '+': 'an object is either read or written; open it twice',
    'U': "that mode is gone from Python's open(), too; leave it out",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenMode:
    """A mode, taken apart.

    Attributes:
        action: 'r', 'w' or 'x'.
        is_text: Whether text goes through, rather than bytes.
    """

    action: str
    is_text: bool

    @property
    def binary(self) -> str:
        """The mode of the binary file below."""
        return f'{self.action}b'


def open_mode(mode: object, *, encoding: str | None, errors: str | None, newline: str | None) -> OpenMode:
    """Take a mode apart, and see that what stands beside it goes with it.

    Raises:
        ConfigurationError: There is no such mode, or it is binary and there is an encoding, errors or newline.
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
            raise ConfigurationError(f"{name} is for text; mode {mode!r} gives and takes bytes as they are (leave out the 'b')")
    return OpenMode(action=actions[0], is_text=is_text)
