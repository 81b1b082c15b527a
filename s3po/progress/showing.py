"""The progress of a call without a batch, or of one job of a batch."""

from __future__ import annotations

from collections.abc import Callable

from s3po.jobs import Call
from s3po.model import Outcome
from s3po.observer import combined
from s3po.progress.meter import is_wanted, metered
from s3po.progress.sizes import size_of

__all__ = ['shown']


def shown(call: Call, perform: Callable[[Call], Outcome], width: Callable[[], int]) -> Outcome:
    """Carry out a call that has the option `progress`.

    Args:
        call: The call.
        perform: Carries out the call, without this option.
        width: Returns how many requests may be in flight.

    Raises:
        ConfigurationError: The option is neither True, False, None nor a function.
    """
    options = {**call.options}
    progress = options.pop('progress')
    if not is_wanted(progress):
        return perform(Call(call.operation, call.ref, options))
    with metered(progress, width, size_of(call)) as tally:
        options['observer'] = combined(options.get('observer'), tally)
        outcome = perform(Call(call.operation, call.ref, options))
        tally.settle(outcome.size_bytes)
    return outcome
