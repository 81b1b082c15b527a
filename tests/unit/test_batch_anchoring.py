"""A relative path belongs to the directory in which its job was submitted."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

import s3po
from tests.conftest import BUCKET


@pytest.mark.parametrize('with_journal', [False, True])
def test_change_of_directory(
    memory_conn: s3po.Connection, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, with_journal: bool
) -> None:
    """The program changes its directory between its calls."""
    options: dict[str, Any] = {'journal': tmp_path / 'journal'} if with_journal else {}
    memory_conn.upload(BUCKET, 'key', b'data')

    with memory_conn.batch(10, **options) as batch:
        for name in ('one', 'two'):
            (tmp_path / name).mkdir()
            (tmp_path / name / 'file').write_text(name)
            (tmp_path / name / 'deleted').write_text(name)
            monkeypatch.chdir(tmp_path / name)
            batch.upload(BUCKET, f'{name}/file', pathlib.Path('file'))
            batch.upload_file(BUCKET, f'{name}/deleted', 'deleted', delete=True)
            batch.download(BUCKET, 'key', 'target')
            batch.download_file(BUCKET, 'key', pathlib.Path('other'))
        monkeypatch.chdir(tmp_path)

    for name in ('one', 'two'):
        assert memory_conn.download(BUCKET, f'{name}/file') == name.encode()
        assert memory_conn.download(BUCKET, f'{name}/deleted') == name.encode()
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ['file', 'other', 'target']
