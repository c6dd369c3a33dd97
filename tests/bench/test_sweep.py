"""A peer's best setting is found in few starts."""

from bench.peers.catalogue import Peer, Setting
from bench.peers.sweep import best_setting

PEER = Peer("peer", packages=(), command=())


def test_of_the_best_batch_size_other_waits_are_tried_and_may_win() -> None:
    def per_s(setting: Setting) -> float:
        return 100.0 * (setting.batch == 8) + 10.0 * (setting.wait_ms == 50) + 1 / setting.workers

    best = best_setting(PEER, per_s)

    assert best == Setting(batch=8, workers=1, wait_ms=50)


def test_a_peer_without_batches_or_with_a_wait_of_its_own_is_not_asked_for_others() -> None:
    tried: list[Setting] = []

    def per_s(setting: Setting) -> float:
        tried.append(setting)
        return 1.0

    for peer in (Peer("a", (), (), batches=False), Peer("b", (), (), wait_ms=0)):
        best_setting(peer, per_s)
        assert tried == peer.settings()
        tried.clear()


def test_the_best_without_batches_stays_the_best_whatever_waiting_brings() -> None:
    best = best_setting(PEER, lambda setting: 100.0 if setting.batch == 1 else setting.wait_ms)

    assert best.batch == 1
