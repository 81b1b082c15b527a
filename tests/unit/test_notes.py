"""The notes of transfers: every implementation keeps the same rules."""

from __future__ import annotations

import pathlib

from tests.support.notes import MemoryNotes, check_notes


def test_in_memory(tmp_path: pathlib.Path) -> None:
    """The notes of tests keep the rules of `Notes`, over their file as well."""
    check_notes(lambda: MemoryNotes(tmp_path / 'notes'))
