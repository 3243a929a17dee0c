"""How training programs end if their input is faulty: one line, and exit status 1, or 2 for settings."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from posewire.os_errors import reason_of
from posewire_models.training.config import ConfigError

__all__ = ["expected_failures"]


@contextmanager
def expected_failures() -> Iterator[None]:
    """Report faulty input, and missing packages that only some tools need, as one line on stderr and an exit status."""
    status = 1
    try:
        yield
    except ModuleNotFoundError as error:
        said = f"this needs the package {error.name}, which is not installed"
    except OSError as error:
        said = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else reason_of(error)
    except (ValueError, RuntimeError) as error:
        said, status = str(error), 2 if isinstance(error, ConfigError) else 1
    else:
        return
    print(f"posewire: {' '.join(said.splitlines())}", file=sys.stderr)
    sys.exit(status)
