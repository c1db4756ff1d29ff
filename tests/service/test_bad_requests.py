"""Bad requests to a real service: none is answered by a fault of the service."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "bad_requests.py"


def test_no_bad_request_is_a_fault_of_the_service(shops):
    command = [sys.executable, SCRIPT, shops / "shop", "--requests", 600, "--seed", 1]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["requests"] == 600
    assert (told["badly_answered"], told["exceptions_in_log"]) == (0, 0)
    assert {"200", "404", "405", "422"} <= {*told["statuses"]}
