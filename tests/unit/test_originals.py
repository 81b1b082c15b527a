"""A file is deleted after its upload only if it is still the uploaded file, whatever happens to its path."""

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
    """The path of a file that is being uploaded."""
    found = tmp_path / 'directory' / 'file'
    found.parent.mkdir()
    found.write_bytes(b'uploaded')
    return found


@pytest.fixture
def source(path: pathlib.Path) -> Iterator[FileSource]:
    """The opened file."""
    found = open_source(path)
    assert isinstance(found, FileSource)
    yield found
    found.close()


def replace(path: pathlib.Path) -> None:
    """Replace the file by another one of the same size and time, as an editor may do."""
    other = path.with_name('other')
    other.write_bytes(b'precious')
    found = path.stat()
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    os.replace(other, path)


def append(path: pathlib.Path) -> None:
    with path.open('ab') as file:
        file.write(b'more')


def rewrite(path: pathlib.Path) -> None:
    """Rewrite the file: the same size and inode, another time."""
    path.write_bytes(b'precious')
    os.utime(path, ns=(0, 0))


def swap_directory(path: pathlib.Path) -> None:
    """Replace the directory by another one, which has a file of the same name."""
    path.parent.rename(path.parent.with_name('elsewhere'))
    path.parent.mkdir()
    path.write_bytes(b'precious')


def link_directory(path: pathlib.Path) -> None:
    """Replace the directory by a symbolic link to another one."""
    swap_directory(path)
    path.parent.rename(path.parent.with_name('third'))
    path.parent.symlink_to('third')


def test_deleted(path: pathlib.Path, source: FileSource) -> None:
    """The file is deleted, and no other file is left."""
    delete_original(source)

    assert os.listdir(path.parent) == []


def test_directory_that_cannot_be_read(path: pathlib.Path, source: FileSource) -> None:
    """A file in a directory that cannot be listed is deleted."""
    path.parent.chmod(0o300)
    try:
        delete_original(source)
    finally:
        path.parent.chmod(0o700)

    assert os.listdir(path.parent) == []


def test_relative_path(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name without a directory refers to the current directory."""
    monkeypatch.chdir(path.parent)
    source = open_source(pathlib.Path('file'))
    assert isinstance(source, FileSource)
    delete_original(source)
    source.close()

    assert os.listdir(path.parent) == []


def test_symbolic_link(path: pathlib.Path) -> None:
    """For a symbolic link, the link is deleted, and not its target."""
    path.with_name('link').symlink_to('file')
    source = open_source(path.with_name('link'))
    assert isinstance(source, FileSource)
    delete_original(source)
    source.close()

    assert os.listdir(path.parent) == ['file']


@pytest.mark.parametrize('change', [replace, append, rewrite, swap_directory, link_directory])
def test_changed_before(path: pathlib.Path, source: FileSource, change: Do) -> None:
    """A file that was changed or replaced before the deletion is kept, with its name."""
    change(path)
    before = path.read_bytes()
    with pytest.raises(LocalError, match='was uploaded, but not deleted: it changed meanwhile') as caught:
        delete_original(source)

    assert path.read_bytes() == before != b'uploaded'
    assert os.listdir(path.parent) == ['file']
    assert caught.value.filename == str(path)


def test_gone(path: pathlib.Path, source: FileSource) -> None:
    """If another process has deleted the file, the deletion raises an error."""
    path.unlink()
    with pytest.raises(LocalError, match='not deleted'):
        delete_original(source)


class Racing:
    """The module os, with another process that acts just before one of its calls.

    Args:
        calls: For the name of a call, what is done before it, once.
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
    """A file that changes between the check and the rename gets its name back."""
    monkeypatch.setattr(originals, 'os', Racing(rename=lambda: change(path)))
    with pytest.raises(LocalError, match='not deleted: it changed meanwhile. Upload it again'):
        delete_original(source)

    assert path.read_bytes() in (b'precious', b'uploadedmore')
    assert os.listdir(path.parent) == ['file']


def test_replaced_when_it_is_too_late(path: pathlib.Path, source: FileSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file that appears after the rename is kept."""
    monkeypatch.setattr(originals, 'os', Racing(unlink=lambda: path.write_bytes(b'precious')))
    delete_original(source)

    assert path.read_bytes() == b'precious'
    assert os.listdir(path.parent) == ['file']


def test_two_changes(path: pathlib.Path, source: FileSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """If two files appear, none is lost, and the error has the new name of the first one."""
    acts = Racing(rename=lambda: replace(path), link=lambda: path.write_bytes(b'third'))
    monkeypatch.setattr(originals, 'os', acts)
    with pytest.raises(LocalError, match='The last file at this path is now named .s3po-[0-9a-f]+.deleting') as caught:
        delete_original(source)

    name = str(caught.value).partition('now named ')[2].partition(',')[0]
    assert path.read_bytes() == b'third'
    assert path.with_name(name).read_bytes() == b'precious'


def test_directory_swapped_in_between(path: pathlib.Path, source: FileSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the directory is swapped, the file that was checked is deleted, wherever its directory is."""
    monkeypatch.setattr(originals, 'os', Racing(rename=lambda: swap_directory(path)))
    delete_original(source)

    assert path.read_bytes() == b'precious'
    assert os.listdir(path.parent.with_name('elsewhere')) == []
