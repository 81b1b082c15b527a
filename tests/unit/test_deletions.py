"""Which deletions a response to DeleteObjects confirms: only the caller's keys, each at most once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3po.errors import AccessDenied, NetworkError, ServerError
from s3po.s3.deletions import failures_of
from s3po.s3.xml import Deletion, NotDeleted
from s3po.s3.xml_characters import survives_xml


def refused(key: str, code: str = 'InternalError', version_id: str | None = None) -> NotDeleted:
    return NotDeleted(key=key, version_id=version_id, code=code, message='no')


def found(asked: list[tuple[str, str | None]], *said: str | tuple[str, str] | NotDeleted) -> dict[str, type[Exception]]:
    """The failures, by key, for such a response."""
    deleted = [(each, None) if isinstance(each, str) else each for each in said if not isinstance(each, NotDeleted)]
    failures = [each for each in said if isinstance(each, NotDeleted)]
    told = failures_of('bucket', asked, Deletion(deleted=deleted, failures=failures))
    return {each.key: type(each.error) for each in told}


A, B = ('a', None), ('b', None)


def test_confirmed() -> None:
    """Keys listed as deleted count as deleted, keys listed as failed do not."""
    assert found([A, B], 'a', 'b') == {}
    assert found([A, B], 'a', 'a', 'b') == {}
    assert found([A, B], 'a', refused('b', 'AccessDenied')) == {'b': AccessDenied}
    assert found([A, B], 'a', 'b', refused('b')) == {'b': ServerError}


def test_quiet_stores() -> None:
    """A store that lists no deleted keys lists failures only."""
    assert found([A, B]) == {}
    assert found([A, B], refused('b')) == {'b': ServerError}


def test_missing() -> None:
    """A key that is missing in the list is not confirmed."""
    assert found([A, B], 'a') == {'b': NetworkError}


def test_strangers() -> None:
    """A response with another key confirms none of the keys that it does not list, and the other key is not counted."""
    assert found([('a%2Fb', None)], refused('a/b')) == {'a%2Fb': NetworkError}
    assert found([A, ('c\n', None)], 'a', 'c') == {'c\n': NetworkError}
    assert found([A, B], refused('x'), refused('y'), refused('b')) == {'a': NetworkError, 'b': ServerError}
    with pytest.raises(NetworkError, match="contains 'x', which was not in the request"):
        found([A], 'a', 'x')


def test_versions() -> None:
    """A version that the store omits or adds is accepted if only one version fits; another version is not."""
    one, two = ('a', 'v1'), ('a', 'v2')
    assert found([one], 'a') == {}
    assert found([A], ('a', 'v9')) == {}
    assert found([one, two], ('a', 'v1'), refused('a', version_id='v2')) == {'a': ServerError}
    assert found([one], ('a', 'v9')) == {'a': NetworkError}
    assert found([one, two], 'a') == {'a': NetworkError}


names = st.tuples(st.sampled_from(['a', 'b', 'a/b', 'a%2Fb', 'é', 'e\u0301']), st.sampled_from([None, 'v']))


@given(
    asked=st.lists(names, min_size=1, max_size=5, unique=True),
    deleted=st.lists(names, max_size=5),
    failures=st.lists(names, max_size=5),
)
def test_any_answer(
    asked: list[tuple[str, str | None]], deleted: list[tuple[str, str | None]], failures: list[tuple[str, str | None]]
) -> None:
    """Failures are the caller's keys, each once; a key that is listed as failed never counts as deleted."""
    answer = Deletion(deleted=deleted, failures=[refused(key, version_id=version) for key, version in failures])
    try:
        told = failures_of('bucket', asked, answer)
    except NetworkError:
        return
    failed = [(each.key, each.version_id) for each in told]

    assert len(failed) == len(set(failed))
    assert set(failed) <= set(asked)
    assert set(asked) & set(failures) <= set(failed)
    if deleted or {key for key, _ in failures} - {key for key, _ in asked}:
        confirmed = {key for key, _ in deleted}
        assert all(name in failed or name[0] in confirmed for name in asked)


@pytest.mark.parametrize('key', ['a\rb', 'a\r\n', ' a', 'a ', '\u00a0', '\x01', '\ufffe', 'a\n'])
def test_keys_that_a_list_does_not_name(key: str) -> None:
    """These keys do not survive XML, so they are deleted by requests of their own."""
    assert not survives_xml(key)


def test_keys_that_a_list_names() -> None:
    """All other keys survive XML."""
    assert survives_xml('a b\t\n&<>"\'%2F+é')
