"""TorchServe (Java): archives the handler, writes the configuration, becomes the server."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from model import BATCH, PORT, WAIT_MS, WORKERS

HERE = Path(__file__).parent.resolve()
BIN = Path(sys.executable).parent


def main() -> None:
    """Never returns."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-torchserve-"))
    (folder / "store").mkdir()
    subprocess.run(
        [
            str(BIN / "torch-model-archiver"),
            *("--model-name", "predict", "--version", "1"),
            *("--handler", str(HERE / "torchserve_handler.py")),
            *("--export-path", str(folder / "store")),
        ],
        check=True,
    )
    model = {
        "minWorkers": WORKERS,
        "maxWorkers": WORKERS,
        "batchSize": BATCH,
        "maxBatchDelay": WAIT_MS,
        "responseTimeout": 120,
        "marName": "predict.mar",
        "defaultVersion": True,
    }
    snapshot = {"modelCount": 1, "models": {"predict": {"1": model}}}
    (folder / "config.properties").write_text(
        f"inference_address=http://127.0.0.1:{PORT}\n"
        f"management_address=http://127.0.0.1:{PORT + 1}\n"
        f"metrics_address=http://127.0.0.1:{PORT + 2}\n"
        "disable_token_authorization=true\n"
        "job_queue_size=1000\n"
        f"model_snapshot={json.dumps({'name': 'startup.cfg', **snapshot})}\n"
    )
    os.chdir(folder)
    os.environ["PATH"] = f"{BIN}:{os.environ['PATH']}"
    os.environ["PEER_CODE"] = str(HERE)
    command = ["torchserve", "--start", "--foreground", "--ncs", "--model-store", "store"]
    os.execvp("torchserve", [*command, "--ts-config", "config.properties"])


if __name__ == "__main__":
    main()
