"""What one submission may use."""

import threading
from dataclasses import dataclass, field

WHOLE_SUBMISSION = 5  # times the seconds for a cell or an exercise


@dataclass(frozen=True)
class Limits:
    """What one submission may use.

    Args:
        timeout: seconds for a cell or an exercise; the whole submission has `WHOLE_SUBMISSION` times that.
        memory: bytes on top of what the imports take.
        enforced: False takes the limits on memory, files and processes away; time and output stay bounded.
        stop: set from outside to end every child soon.
    """

    timeout: float = 60.0
    memory: int = 4 * 2**30
    enforced: bool = True
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def whole_submission(self) -> float:
        """Seconds for everything that is run for one student."""
        return WHOLE_SUBMISSION * self.timeout
