"""What a long-running tool says of its progress."""

import time


def log(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {message}", flush=True)
