"""A file is deleted after its upload only if it is the file that was uploaded, whatever happens to its path."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from s3po.body import open_source, originals
from s3po.body.originals import delete_original
from s3po.body.sources import FileSource
from s3po.errors import LocalError

pytestmark = pytest.mark.security('S24')

Do = Callable[[pathlib.Path], object]


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """A file that is being uploaded."""
    found = tmp_path / 'directory' / 'file'
    found.parent.mkdir()
    found.write_bytes(b'uploaded')
    return found


@pytest.fixture
def source(path: pathlib.Path) -> Iterator[FileSource]:
    """It, opened."""
    found = open_source(path)
    assert isinstance(found, FileSource)
    yield found
    found.close()


def replace(path: pathlib.Path) -> None:
    """Put another file of the same size and time in its place, as an editor would."""
    other = path.with_name('other')
    other.write_bytes(b'precious')
    found = path.stat()
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    os.replace(other, path)


def append(path: pathlib.Path) -> None:
    with path.open('ab') as file:
        file.write(b'more')


def rewrite(path: pathlib.Path) -> None:
    """The same size, the same inode, another time."""
    path.write_bytes(b'precious')
    os.utime(path, ns=(0, 0))


def swap_directory(path: pathlib.Path) -> None:
    """Another directory stands where the file's was, with a file of the same name in it."""
    path.parent.rename(path.parent.with_name('elsewhere'))
    path.parent.mkdir()
    path.write_bytes(b'precious')


def link_directory(path: pathlib.Path) -> None:
    """The same, by a symbolic link."""
    swap_directory(path)
    path.parent.rename(path.parent.with_name('third'))
    path.parent.symlink_to('third')


def test_deleted(path: pathlib.Path, source: FileSource) -> None:
    """It is gone, and nothing else has come."""
    delete_original(source)

    assert os.listdir(path.parent) == []


def test_directory_that_cannot_be_read(path: pathlib.Path, source: FileSource) -> None:
    """Where files may be deleted but not listed, they are deleted."""
    path.parent.chmod(0o300)
    try:
        delete_original(source)
    finally:
        path.parent.chmod(0o700)

    assert os.listdir(path.parent) == []


def test_relative_path(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare name is one of the current directory."""
    monkeypatch.chdir(path.parent)
    source = open_source(pathlib.Path('file'))
    assert isinstance(source, FileSource)
    delete_original(source)
    source.close()

    assert os.listdir(path.parent) == []


def test_symbolic_link(path: pathlib.Path) -> None:
    """The link goes, what it leads to stays."""
    path.with_name('link').symlink_to('file')
    source = open_source(path.with_name('link'))
    assert isinstance(source, FileSource)
    delete_original(source)
    source.close()

    assert os.listdir(path.parent) == ['file']


@pytest.mark.parametrize('change', [replace, append, rewrite, swap_directory, link_directory])
def test_changed_before(path: pathlib.Path, source: FileSource, change: Do) -> None:
    """What was put there between upload and deletion stays, and so does its name."""
    change(path)
    before = path.read_bytes()
    with pytest.raises(LocalError, match='was uploaded, but not deleted: it changed meanwhile') as caught:
        delete_original(source)

    assert path.read_bytes() == before != b'uploaded'
    assert os.listdir(path.parent) == ['file']
    assert caught.value.filename == str(path)


def test_gone(path: pathlib.Path, source: FileSource) -> None:
    """A file that another process has deleted is not deleted again."""
    path.unlink()
    with pytest.raises(LocalError, match='not deleted'):
        delete_original(source)


class Racing:
    """The system's calls, with another process that acts just before one of them.

    Args:
        calls: What to do before which call, once.
    """

    def __init__(self, **calls: Callable[[], object]) -> None:
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        act = self._calls.pop(name, None)
        if act is not None:
            act()
        return getattr(os, name)


@pytest.mark.parametrize('change', [replace, append, rewrite])
def test_changed_at_the_last_moment(
    path: pathlib.Path, source: FileSource, change: Do, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it was looked at, and before it is renamed: it is put back under its name."""
    monkeypatch.setattr(originals, 'os', Racing(rename=lambda: change(path)))
    with pytest.raises(LocalError, match='not deleted: it changed meanwhile. Upload it again'):
        delete_original(source)

    assert path.read_bytes() in (b'precious', b'uploadedmore')
    assert os.listdir(path.parent) == ['file']


def test_replaced_when_it_is_too_late(path: pathlib.Path, source: FileSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """After it was renamed, a new file under the old name has nothing to do with what is deleted."""
    monkeypatch.setattr(originals, 'os', Racing(unlink=lambda: path.write_bytes(b'precious')))
    delete_original(source)

    assert path.read_bytes() == b'precious'
    assert os.listdir(path.parent) == ['file']


def test_two_changes(path: pathlib.Path, source: FileSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is lost; the error has the new name of the first one."""
    acts = Racing(rename=lambda: replace(path), link=lambda: path.write_bytes(b'third'))
    monkeypatch.setattr(originals, 'os', acts)
    with pytest.raises(LocalError, match='The last file at this path is now named .s3po-[0-9a-f]+.deleting') as caught:
        delete_original(source)

    name = str(caught.value).partition('now named ')[2].partition(',')[0]
    assert path.read_bytes() == b'third'
    assert path.with_name(name).read_bytes() == b'precious'


def test_directory_swapped_in_between(path: pathlib.Path, source: FileSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was looked at is what is deleted, wherever its directory has gone."""
    monkeypatch.setattr(originals, 'os', Racing(rename=lambda: swap_directory(path)))
    delete_original(source)

    assert path.read_bytes() == b'precious'
    assert os.listdir(path.parent.with_name('elsewhere')) == []
