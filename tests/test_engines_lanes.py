"""The rule by which batches are drawn: realtime first, in order, never more than a batch."""

from asyncio import Future, new_event_loop

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engines.lanes import Job, Lane, Lanes

MAX_BATCH = 4
MAX_QUEUE = 9


class LanesMachine(RuleBasedStateMachine):
    """Puts, cancels and draws in any order, beside a model that is two plain lists."""

    @initialize()
    def open_lanes(self):
        self.loop = new_event_loop()
        self.lanes = Lanes(MAX_QUEUE)
        self.model = {lane: [] for lane in Lane}

    def teardown(self):
        if hasattr(self, "loop"):
            self.loop.close()

    def waiting(self, lane):
        return [job for job in self.model[lane] if not job.future.cancelled()]

    @rule(lane=st.sampled_from(Lane), alone=st.booleans())
    def put_where_there_is_room(self, lane, alone):
        if not self.lanes.is_full(lane):
            job = Job(object(), Future(loop=self.loop), alone)
            self.lanes.put(lane, job)
            self.model[lane].append(job)

    @precondition(lambda self: any(self.model.values()))
    @rule(data=st.data())
    def cancel_one(self, data):
        data.draw(st.sampled_from([job for jobs in self.model.values() for job in jobs])).future.cancel()

    @rule()
    def draw(self):
        expected = [*self.waiting(Lane.REALTIME), *self.waiting(Lane.BACKFILL)][:MAX_BATCH]
        realtime = set(map(id, self.model[Lane.REALTIME]))
        batches = self.lanes.draw(MAX_BATCH)
        drawn = [job for batch in batches for job in batch]
        assert {id(job) for job in drawn} == {id(job) for job in expected}, "realtime first, first come first served"
        assert len(drawn) == len(expected), "nobody twice"
        assert all(batches), "no empty batch"
        assert sum(not batch[0].alone for batch in batches) <= 1, "one shared batch"
        assert all(len(batch) == 1 for batch in batches for job in batch if job.alone)
        self.check_order(batches, realtime, expected)
        for lane in Lane:
            self.model[lane] = [job for job in self.waiting(lane) if job not in drawn]

    def check_order(self, batches, realtime, expected):
        shared = [job for batch in batches for job in batch if not job.alone]
        assert shared == [job for job in expected if not job.alone]
        only_backfill = [all(id(job) not in realtime for job in batch) for batch in batches]
        assert only_backfill == sorted(only_backfill), "no batch of backfill before one with realtime in it"

    @rule()
    def clear(self):
        assert self.waiting(Lane.REALTIME) + self.waiting(Lane.BACKFILL) == [
            job for job in self.lanes.clear() if not job.future.cancelled()
        ]
        self.model = {lane: [] for lane in Lane}

    @invariant()
    def the_queues_are_bounded(self):
        if hasattr(self, "lanes"):
            for lane in Lane:
                assert len(self.waiting(lane)) <= self.lanes.queued(lane) <= MAX_QUEUE
            assert bool(self.lanes) or not any(self.waiting(lane) for lane in Lane)


LanesMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLanes = LanesMachine.TestCase
