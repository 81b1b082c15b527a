"""A key becomes a path of its own below the root, or an error."""

from __future__ import annotations

import os
import pathlib
import tempfile

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from s3po.body import LocalPaths, local_path
from s3po.errors import ConfigurationError, UnsafePath

pytestmark = pytest.mark.security('S11')

ROOT = os.path.realpath(tempfile.gettempdir()) + '/no-such-root'

# Parts of malicious keys, and any text.
segments = st.one_of(
    st.sampled_from(
        ['..', '.', '', '...', '. .', '\\', '..\\', 'C:', 'c:x', '~', '-rf', '\0', '\n', ' ', 'a', 'A', 'b', 'é', 'e\u0301',
         'ß', 'ss', '\u200d', '.\u200d.', '%2e%2e', '\ud800', '.s3po-x.part', 'x' * 255, 'x' * 256, 'é' * 128,
         '\uff0f', '\u2025', '\ufb01', '\u212a']
    ),
    st.text(max_size=5),
)  # fmt: skip
keys = st.one_of(st.lists(segments, min_size=1, max_size=5).map('/'.join), st.text())


def path_of(key: str) -> str | None:
    """The path of a key, or None if it is rejected."""
    try:
        return local_path(ROOT, key)
    except UnsafePath:
        return None


@given(key=keys)
def test_inside(key: str) -> None:
    """The path of a key is always below the root, and is spelt like the key."""
    found = path_of(key)
    assume(found is not None)
    assert found is not None

    assert os.path.commonpath([ROOT, found]) == ROOT
    assert os.path.realpath(found) == os.path.normpath(found) == found == f'{ROOT}/{key}' != ROOT
    assert all(0 < len(os.fsencode(name)) <= 255 for name in key.split('/'))
    assert os.fsdecode(os.fsencode(found)) == found


@given(one=keys, other=keys)
def test_injective(one: str, other: str) -> None:
    """Different keys have different paths."""
    first, second = path_of(one), path_of(other)

    assert first is None or first != second or one == other


@given(found=st.lists(keys, max_size=8))
def test_no_twins(found: list[str]) -> None:
    """Of the paths in one directory, none equals or contains another, even if case and Unicode composition are ignored."""
    paths = LocalPaths(ROOT)
    taken: dict[str, str] = {}
    for key in found:
        try:
            taken[key] = paths.path(key)
        except UnsafePath:
            continue
    folded = [each.casefold() for each in taken.values()]

    assert len(set(folded)) == len(folded)
    assert not any(one.startswith(f'{other}/') for one in folded for other in folded)


@given(key=keys)
def test_written(key: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A file system accepts every path that is not rejected, and lists it under the key."""
    assume(path_of(key) is not None)
    with tempfile.TemporaryDirectory() as root:
        path = pathlib.Path(local_path(root, key))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'')
        written = [os.path.join(where, name) for where, _, names in os.walk(root) for name in names]

        assert written == [os.path.join(root, *key.split('/'))]


@pytest.mark.parametrize(
    'key',
    [
        *('../x', 'a/../../x', '/etc/x', '..', '.', 'a/./b', 'C:/x', 'c:x', '..\\x', 'a\\b', 'a\0b'),
        *('', '/', 'a//b', 'a/', '/lead', '\t', 'a\nb', '\x01', '\x7f', '\x9b2J', '\x1b]0;x\x07'),
        *(
            'x' * 256,
            f'a/{"é" * 128}/b',
            'a/\ud800',
            '.s3po-1234.part',
            'a/.S3PO-1.part/b',
            '.\u200d.',
            '\u200d',
            '.s3\u200dpo-x',
        ),
    ],
)
def test_refused(key: str) -> None:
    """These keys are rejected, and the error shows the key without control characters."""
    with pytest.raises(UnsafePath, match='cannot be used as a path: ') as caught:
        local_path(ROOT, key)

    assert repr(key) in str(caught.value)
    assert str(caught.value).isprintable() or not key.isprintable()
    assert '\x1b' not in str(caught.value)


@pytest.mark.parametrize(
    'key',
    [
        *('a', 'a/b/c', ' ', 'a b', 'a.', 'a ', '...', '..a', 'a..', '~', '~root/x', '-rf', '%2F', '+', '?#&=', 'é', 'e\u0301'),
        *('x' * 255, 'ab:c', 'a/C:', '$HOME', '*', '\U0001f600', 's3po-1.part', '.s3po', 'CON', '\u202etxt'),
    ],
)
def test_taken(key: str) -> None:
    """These keys are used unchanged."""
    assert local_path('root', key) == f'root/{key}'
    assert local_path(pathlib.Path('/root'), key) == f'/root/{key}'


@pytest.mark.parametrize('root', ['', 'a\0b', b'root'])
def test_root(root: str) -> None:
    """An invalid root is a ConfigurationError."""
    with pytest.raises(ConfigurationError, match='root must be the path of a directory'):
        local_path(root, 'key')


@pytest.mark.parametrize(
    ('one', 'other'),
    [
        *(('a', 'A'), ('é', 'e\u0301'), ('É', 'e\u0301'), ('ß', 'SS'), ('a/B', 'A/b'), ('a\u200db', 'ab'), ('a\ufe0f', 'a')),
        *(('a', 'a/b'), ('A', 'a/b/c'), ('a/b', 'a'), ('a/b/c', 'A'), ('K', 'k')),
    ],
)
def test_twins(one: str, other: str) -> None:
    """Of two keys that a file system may treat as the same, or that cannot both exist, the second is rejected."""
    paths = LocalPaths('root')
    assert paths.path(one) == f'root/{one}'
    with pytest.raises(UnsafePath, match='cannot both be files in one directory') as caught:
        paths.path(other)

    assert repr(one) in str(caught.value)
    assert repr(other) in str(caught.value)
    assert paths.path(one) == f'root/{one}'
    with pytest.raises(UnsafePath):
        paths.path(other)


def test_neighbours() -> None:
    """Files in the same directory or in subdirectories of each other do not conflict."""
    paths = LocalPaths('root')

    assert [paths.path(key) for key in ('a/b', 'a/c', 'a/d/e', 'A/x', 'ab', 'a.b')] == [
        'root/a/b', 'root/a/c', 'root/a/d/e', 'root/A/x', 'root/ab', 'root/a.b',
    ]  # fmt: skip
