"""Many calls at once in native threads, in the two usual ways."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def in_executor(function: Callable[[Any], Any], items: Sequence[Any], width: int) -> list[Any]:
    """Calls the function with each item in a ThreadPoolExecutor, `width` at once.

    Returns:
        The results, in the order of the items.
    """
    with ThreadPoolExecutor(width) as pool:
        return list(pool.map(function, items))


def in_threads(function: Callable[[Any], Any], items: Sequence[Any], width: int) -> list[Any]:
    """Calls the function with each item in plain threads that share one iterator. It costs less than futures.

    Returns:
        The results, in the order of the items.

    Raises:
        Exception: The exception of the first call that failed.
    """
    results: list[Any] = [None] * len(items)
    failures: list[Exception] = []
    numbered = iter(enumerate(items))  # its next() holds the interpreter's lock

    def work() -> None:
        try:
            for n, item in numbered:
                results[n] = function(item)
        except Exception as error:  # noqa: BLE001  (raised again in the calling thread)
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(min(width, len(items)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return results


async def in_tasks(function: Callable[[Any], Any], items: Sequence[Any], width: int) -> list[Any]:
    """Awaits the function with each item in `width` asyncio tasks that share one iterator.

    Returns:
        The results, in the order of the items.
    """
    import asyncio  # only where it is used

    results: list[Any] = [None] * len(items)
    numbered = iter(enumerate(items))

    async def work() -> None:
        for n, item in numbered:
            results[n] = await function(item)

    await asyncio.gather(*(work() for _ in range(width)))
    return results
