"""Many calls at once in native threads, in the two ways that there are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def in_pool(function: Callable[[Any], Any], items: Sequence[Any], width: int) -> list[Any]:
    """Calls the function with each item, `width` at once, as the standard library offers it.

    Returns:
        What it returned, in the items' order.
    """
    with ThreadPoolExecutor(width) as pool:
        return list(pool.map(function, items))


def in_bare_threads(function: Callable[[Any], Any], items: Sequence[Any], width: int) -> list[Any]:
    """The same at the least cost that Python has: standing threads take the next item, and there are no futures.

    Returns:
        What the function returned, in the items' order.

    Raises:
        Exception: What the first call raised that failed.
    """
    results: list[Any] = [None] * len(items)
    failures: list[Exception] = []
    numbered = iter(enumerate(items))  # its next() holds the interpreter's lock

    def work() -> None:
        try:
            for n, item in numbered:
                results[n] = function(item)
        except Exception as error:  # noqa: BLE001  (raised again by the thread that waits)
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(min(width, len(items)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return results
