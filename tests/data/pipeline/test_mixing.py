import collections

from zv_jax.data.pipeline import mixing


def take(stream, start, count):
    return [stream[i] for i in range(start, start + count)]


def test_every_epoch_is_a_permutation_and_another_one():
    stream = mixing.mixture([50], [1.0], 0)
    epochs = [take(stream, 50 * e, 50) for e in range(3)]
    for number, picks in enumerate(epochs):
        assert sorted(p.sample for p in picks) == list(range(50))
        assert {p.epoch for p in picks} == {number}
    assert len({tuple(p.sample for p in picks) for picks in epochs}) == 3


def test_weights_are_shares_whatever_the_sizes():
    stream = mixing.mixture([10, 1000], [3.0, 1.0], 0)
    counts = collections.Counter(p.source for p in take(stream, 0, 400))
    assert counts == {0: 300, 1: 100}


def order(stream, count, source=0):
    return [p.sample for p in take(stream, 0, count) if p.source == source]


def test_order_depends_on_the_seed_and_not_on_sources_behind():
    alone = order(mixing.mixture([40], [1.0], 1), 20)
    assert alone == order(mixing.mixture([40, 40], [1.0, 1.0], 1), 40)
    assert alone != order(mixing.mixture([40], [1.0], 2), 20)


def test_sources_of_equal_size_come_in_orders_of_their_own():
    three = mixing.mixture([500] * 3, [1.0] * 3, 0)
    orders = [order(three, 1500, source) for source in range(3)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        together = sum(a == b for a, b in zip(orders[one], orders[other], strict=True))
        assert together < 10, "about one of 500 by chance"


def test_a_source_without_weight_leaves_the_places_of_the_others():
    both = mixing.mixture([40, 40], [1.0, 1.0], 0, places=[0, 2])
    assert order(both, 40, 1) == order(mixing.mixture([40], [1.0], 0, places=[2]), 20)
