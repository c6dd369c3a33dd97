from bench.where import owners

LOOP = "main (services/gateway/__main__.py:40);run (asyncio/runners.py:1)"
SERVER = f"{LOOP};run_asgi (uvicorn/protocols/http/x.py:3)"
DISPATCH = f"{SERVER};go (services/gateway/dispatch.py:9)"
THREAD = "Thread.run (threading.py:9);_worker (concurrent/futures/thread.py:81)"

RAW = f"""\
{LOOP} 5
{SERVER} 7
{DISPATCH};uuid4 (uuid.py:7) 11
{DISPATCH};call (shared/queue/line.py:2) 13
{THREAD} 1000
"""


def test_a_sample_counts_for_the_innermost_file_of_ours() -> None:
    assert owners(RAW.splitlines()) == {
        "event loop": 5,
        "uvicorn": 7,
        "services/gateway/dispatch.py": 11,
        "shared/queue/line.py": 13,
    }
