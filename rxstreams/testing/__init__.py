"""For testing pipelines: event-time marbles, a pipeline driven by hand, virtual time, and the brokers' contract as tests.

drive(stream)            feed records, move watermark and clock, commit, crash, look; no broker, no loop, no waiting
run_marbles(picture, f)  an event-time diagram, and whether the pipeline does what it shows; pytest fixture ``marbles``
virtually(main())        a coroutine on a loop whose time is not waited for; pytest fixture ``virtually``
brokers                  the contract suite that every broker passes
"""

from rxstreams.testing.driving import Drive, drive
from rxstreams.testing.marbles import MarbleOutcome, run_marbles
from rxstreams.testing.virtual import virtual_loop, virtually

__all__ = ["Drive", "MarbleOutcome", "drive", "run_marbles", "virtual_loop", "virtually"]
