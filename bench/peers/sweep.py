"""Find a peer's best setting: batch size and processes first, then how long a batch may fill.

All combinations would be nearly twice as many starts of a server. Knows settings; how one is
measured comes as a function.
"""

from collections.abc import Callable

from bench.peers.catalogue import Peer, Setting


def best_setting(peer: Peer, per_s: Callable[[Setting], float]) -> Setting:
    """The one with most requests a second; each is measured once."""
    reached = {setting: per_s(setting) for setting in peer.settings()}
    batching = [setting for setting in reached if setting.batch > 1]
    if batching:
        best_batching = max(batching, key=lambda setting: reached[setting])
        reached |= {setting: per_s(setting) for setting in peer.other_waits(best_batching)}
    return max(reached, key=lambda setting: reached[setting])
