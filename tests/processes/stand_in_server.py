"""`posewire serve` with quick stand-in networks: all else is the program as it is.

python -m tests.processes.stand_in_server --port 0 --port-file port
"""

from __future__ import annotations

from posewire_server import server
from posewire_server.__main__ import app
from tests.server import stand_ins

if __name__ == "__main__":
    server.load_networks = lambda config: stand_ins.networks()
    app(prog_name="stand_in_server")
