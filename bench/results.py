"""Keep what was measured: one small JSON file for each measurement and day."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.plan import Measured, Plan
from services.local.embedded_redis import find_server, version_of
from shared.cores import usable_cores

KEPT: Final = Path(__file__).parent / "results"

_PACKAGES: Final = ("redis", "tokenizers", "torch", "transformers", "uvicorn", "uvloop")


def save(name: str, measured: Measured, plan: Plan, *, machine: dict[str, Any]) -> Path:
    """Write the file of one measurement; a smoke run's is not kept with the others."""
    folder = plan.cache / "results" if plan.smoke else KEPT
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{datetime.now(UTC):%Y-%m-%d}-{name}.json"
    document = {
        "name": name,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "table": measured.text.splitlines(),
        "summary": measured.summary,
        "runs": measured.runs,
    }
    file.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
    return file


def tables() -> str:
    """The newest table of every measurement, as ``bench/README.md`` shows them."""
    newest = {file.stem[len("2026-01-01-") :]: file for file in sorted(KEPT.glob("*.json"))}
    parts = []
    for name, file in newest.items():
        document = msgspec.json.decode(file.read_bytes())
        where = document["machine"]
        heading = f"### {name}: {where['cpu']}, {where['cores']} cores (`results/{file.name}`)"
        parts.append("\n".join([heading, "", "```", *document["table"], "```"]))
    return "\n\n".join(parts)


def machine() -> dict[str, Any]:
    """Where it was measured, with which versions, and how busy the machine was before."""
    return {
        "cpu": _cpu_name(),
        "cores": usable_cores(),
        "python": platform.python_version(),
        "redis_server": version_of(find_server(None)),
        "packages": {package: version(package) for package in _PACKAGES},
        "revision": _revision(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _revision() -> str:
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return told.stdout.strip()
