"""How fast to ask: the pace against simulated servers, buckets, back-off and what servers say of waiting."""

from __future__ import annotations

import heapq
import random

import pytest

from mixdistill.backends.limits import Bucket, Lengths, Pace, back_off, retry_after


class Simulation:
    """A server of so many slots and what is asked of it, with a clock of its own.

    A slot serves one request in `seconds` (times a random factor of mean 1, as `spread` says). What is above the slots
    waits in a queue, or is refused at once where `refuses`; the share `fails` is refused whatever there is room for.
    """

    def __init__(self, pace: Pace, slots: int, *, seconds=1.0, spread=0.0, refuses=False, tokens=False, fails=0.0):
        self.pace, self.slots, self.seconds, self.spread = pace, slots, seconds, spread
        self.refuses, self.tokens, self.fails = refuses, tokens, fails
        self.now, self.rng, self.events, self.queue = 0.0, random.Random(0), [], []
        self.flying = self.served = self.refused = self.busy = 0
        self.limits: list[tuple[float, int]] = []

    def run(self, seconds: float) -> float:
        """Ask all the time for so long; what was served a second."""
        end, served = self.now + seconds, self.served
        self.send()
        while self.events and self.events[0][0] <= end:
            self.now, _, sent, refused, factor = heapq.heappop(self.events)
            self.flying -= 1
            if refused:
                self.refused += 1
                self.pace.trouble(self.now, sent)
            else:
                self.served += 1
                self.busy -= 1
                self.pace.done(self.now, sent, 100 * factor if self.tokens else 1)
                if self.queue and self.busy < self.slots:
                    self.begin(self.queue.pop(0))
            self.send()
            self.limits.append((self.now, self.pace.limit))
        self.now = end
        return (self.served - served) / seconds

    def send(self) -> None:
        self.pace.quiet(self.now)
        while self.flying < self.pace.limit:
            self.flying += 1
            fails = self.rng.random() < self.fails
            if self.busy < self.slots and not fails:
                self.begin(self.now)
            elif self.refuses or fails:
                heapq.heappush(self.events, (self.now + 0.01, self.rng.random(), self.now, True, 1.0))
            else:
                self.queue.append(self.now)
        self.pace.bound = True

    def begin(self, sent: float) -> None:
        self.busy += 1
        factor = 1 - self.spread + self.spread * self.rng.expovariate(1)
        done = self.now + self.seconds * factor
        heapq.heappush(self.events, (done, self.rng.random(), sent, False, factor))

    def mean_limit(self, since: float) -> float:
        late = [limit for at, limit in self.limits if at >= since]
        return sum(late) / len(late)


def test_a_limit_of_the_user_below_the_start_is_where_it_begins_and_stays():
    server = Simulation(Pace(4), slots=100)
    server.run(50)
    assert {limit for _, limit in server.limits} == {4}


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0])
def test_a_server_that_takes_everything_gets_everything_soon(spread):
    pace = Pace(256)
    server = Simulation(pace, slots=10_000, spread=spread)
    server.run(30)
    assert pace.limit == 256


@pytest.mark.parametrize("most", [32, 64])
@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_doubling_costs_little_where_the_server_has_room(most, spread):
    server = Simulation(Pace(most), slots=10_000, seconds=0.05, spread=spread)
    assert server.run(5) > 0.95 * most / 0.05


def test_long_traces_do_not_hold_back_the_doubling():
    pace = Pace(128)
    server = Simulation(pace, slots=10_000, seconds=300)
    server.send()
    for tenth in range(1, 101):
        server.now = tenth / 10
        server.send()
    assert pace.limit == 128


@pytest.mark.parametrize("slots", [20, 50, 100])
@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_a_queue_at_the_server_is_kept_short_and_its_slots_full(slots, spread):
    pace = Pace(1000)
    server = Simulation(pace, slots=slots, spread=spread, tokens=True)
    server.run(100)
    rate = server.run(400)
    assert rate > 0.85 * slots
    assert server.mean_limit(since=100) < 2.5 * slots


def test_refusals_leave_the_limit_near_what_the_server_takes():
    pace = Pace(500)
    server = Simulation(pace, slots=60, spread=0.5, refuses=True)
    server.run(50)
    refused = server.refused
    rate = server.run(500)
    assert rate > 0.8 * 60
    assert server.refused - refused < 0.05 * rate * 500


def test_a_server_that_grows_is_found_out():
    pace = Pace(500)
    server = Simulation(pace, slots=30, spread=0.5, refuses=True)
    server.run(100)
    assert server.mean_limit(since=50) < 40
    server.slots = 200
    server.run(400)
    assert server.run(100) > 0.8 * 200


def test_a_server_that_shrinks_is_obeyed_within_a_few_round_trips():
    pace = Pace(500)
    server = Simulation(pace, slots=200, refuses=True)
    server.run(60)
    server.slots = 10
    server.run(10)
    assert pace.limit < 20


@pytest.mark.parametrize("most", [16, 256])
def test_a_server_that_fails_now_and_then_is_not_taken_for_a_full_one(most):
    server = Simulation(Pace(most), slots=10_000, spread=0.5, fails=0.03)
    server.run(30)
    assert server.run(300) > 0.8 * most


def test_a_storm_of_refusals_is_one_cut_and_not_one_for_each():
    pace = Pace(100, start=100)
    for i in range(100):
        pace.trouble(now=1.0 + i / 1000, sent=0.0)
    assert pace.limit == 80
    for i in range(10):
        pace.trouble(now=2.0 + i / 1000, sent=1.5)
    assert pace.limit == 64


def test_trouble_without_end_leaves_one_request_in_flight():
    pace = Pace(100)
    for i in range(500):
        pace.trouble(now=i + 0.5, sent=float(i))
    assert pace.limit == 1


def test_a_limit_that_binds_nobody_is_not_raised():
    pace = Pace(100)
    for i in range(1000):
        pace.done(now=float(i), sent=i - 0.5, weight=1)
    assert pace.limit == 16


def test_a_bucket_gives_no_more_than_its_rate_and_what_it_holds():
    bucket, now, taken = Bucket(600), 0.0, []
    while now < 300:
        now += bucket.wait(now, 1)
        bucket.take(now, 1)
        taken.append(now)
    for start in range(0, 240, 7):
        assert sum(start <= at < start + 60 for at in taken) <= 600 + 10
    assert len(taken) >= 0.99 * 300 * 10


def test_a_request_larger_than_the_bucket_goes_when_it_is_full_and_is_paid_afterwards():
    bucket = Bucket(60)
    assert bucket.wait(0.0, 500) == 0
    bucket.take(0.0, 500)
    assert bucket.wait(0.0, 1) == 500
    assert bucket.wait(499.0, 1) == 1


def test_what_an_estimate_took_too_much_is_given_back_and_too_little_is_paid_later():
    bucket = Bucket(6000)
    bucket.take(0.0, 100)
    bucket.put(40)
    assert bucket.level == 40
    bucket.put(-90)
    assert bucket.wait(0.0, 50) == 1


def test_lengths_are_guessed_from_those_that_were():
    lengths = Lengths()
    assert lengths.estimate(400, max_tokens=200) == 100 + 200
    lengths.add(50)
    lengths.add(150)
    assert lengths.estimate(400, max_tokens=None) == 100 + 100


def test_waits_double_at_most_and_are_spread_over_all_of_it():
    rng = random.Random(0)
    for tries, most in [(1, 0.5), (2, 1.0), (5, 8.0), (20, 30.0)]:
        waits = [back_off(tries, rng) for _ in range(500)]
        assert 0 <= min(waits) < 0.05 * most
        assert 0.95 * most < max(waits) <= most


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 60.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:10 GMT"}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_how_long_to_wait_is_read_in_every_form(headers, seconds):
    assert retry_after(headers, clock=40.0) == seconds
