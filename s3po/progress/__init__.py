"""Progress of batches, transfers and open files: `progress=` with a function, or True for a display.

`meter` counts, by the events of an observer, and calls the function at most ten times a second. `displays` has the bars and
lines of progress=True. `sizes` finds the size of a call's source before it is read. `showing` carries out one call.
"""

from s3po.progress.displays import display
from s3po.progress.meter import Meter, Reading, Tally, check_progress, is_wanted, metered
from s3po.progress.showing import shown
from s3po.progress.sizes import size_of

__all__ = ['Meter', 'Reading', 'Tally', 'check_progress', 'display', 'is_wanted', 'metered', 'shown', 'size_of']
