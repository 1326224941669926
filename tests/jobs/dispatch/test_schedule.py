import pytest

from fcos_core.errors import IncompleteRunError
from jobs.dispatch.schedule import RetryLimits, Schedule
from jobs.rundir.rows import ManifestItem
from jobs.rundir.shard import Receipt, Shard


def shard(number: int, num_items: int = 10) -> Shard:
    return Shard(
        number,
        tuple(
            ManifestItem(item_id=i, shard=number, kind="image", uri=f"/{i}", image_id=i)
            for i in range(num_items)
        ),
    )


def receipt(number: int, *, seconds: float = 1.0, num_items: int = 10) -> Receipt:
    return Receipt(
        shard=number,
        num_items=num_items,
        num_ok=num_items,
        num_quarantined=0,
        seconds=seconds,
        created=True,
        device="cpu",
    )


def schedule_of(num_shards: int, **limits: float) -> Schedule:
    return Schedule([shard(n) for n in range(num_shards)], RetryLimits(**limits))


def taken(schedule: Schedule) -> Shard:
    shard = schedule.take()
    assert isinstance(shard, Shard)
    return shard


def test_shards_are_handed_out_in_order_each_once() -> None:
    schedule = schedule_of(3)
    assert [taken(schedule).number for _ in range(3)] == [0, 1, 2]
    assert schedule.take() is None
    assert schedule.num_open == 3


def test_a_failed_shard_goes_behind_the_others() -> None:
    schedule = schedule_of(3)
    schedule.fail([taken(schedule)], "lost")
    assert [taken(schedule).number for _ in range(3)] == [1, 2, 0]


def test_a_failed_shard_is_never_prefetched_beside_another_nor_another_beside_it() -> None:
    schedule = schedule_of(3)
    first = taken(schedule)
    second = schedule.take_upcoming(first)
    assert second is not None
    schedule.fail([first, second], "lost")
    third = taken(schedule)
    assert third.number == 2
    assert schedule.take_upcoming(third) is None
    again = taken(schedule)
    assert again.number == 0
    assert schedule.take_upcoming(again) is None


def test_a_shard_is_given_up_after_the_stated_attempts() -> None:
    schedule = schedule_of(2, max_attempts=3)
    schedule.record(receipt(taken(schedule).number))
    for attempt in range(3):
        schedule.fail([taken(schedule)], f"lost for the {attempt}. time")
    assert schedule.take() is None
    assert schedule.num_open == 0
    with pytest.raises(
        IncompleteRunError,
        match=r"^1 shard is missing after 3 attempts each: shard 1: lost for the 2\. time$",
    ):
        schedule.check_complete()


def test_a_complete_schedule_passes_the_check() -> None:
    schedule = schedule_of(1)
    schedule.record(receipt(taken(schedule).number))
    schedule.check_complete()


def test_a_shard_done_twice_is_recorded_once() -> None:
    schedule = schedule_of(1)
    assert schedule.record(receipt(0))
    assert not schedule.record(receipt(0))


def test_failures_in_a_row_end_the_run_and_a_done_shard_breaks_the_row() -> None:
    schedule = schedule_of(20, max_failures_in_a_row=3)
    for _ in range(2):
        schedule.fail([taken(schedule)], "no storage")
    schedule.record(receipt(taken(schedule).number))
    for _ in range(2):
        schedule.fail([taken(schedule)], "no storage")
    with pytest.raises(IncompleteRunError, match=r"3 attempts failed in a row.*: no storage"):
        schedule.fail([taken(schedule)], "no storage")


def test_a_deadline_follows_the_median_and_is_long_for_a_first_shard() -> None:
    schedule = schedule_of(9, floor_s=100, first_row_s=20, multiple=10)
    assert schedule.deadline_s(shard(0), is_first=False) == 300
    for number, seconds in enumerate((5.0, 10.0, 60.0)):  # 0.5, 1 and 6 s per item
        schedule.record(receipt(number, seconds=seconds))
    assert schedule.deadline_s(shard(5), is_first=False) == 200
    assert schedule.deadline_s(shard(5, num_items=1), is_first=False) == 110
    assert schedule.deadline_s(shard(5), is_first=True) == 300


def test_a_shard_lost_with_its_node_has_not_been_tried() -> None:
    schedule = schedule_of(2, max_attempts=1)
    for _ in range(5):
        schedule.requeue([taken(schedule), taken(schedule)])
    assert schedule.num_open == 2
    first = taken(schedule)
    assert schedule.take_upcoming(first) is not None  # nor is it computed alone


def test_a_shard_whose_workers_died_twice_waits_for_a_poison_search() -> None:
    schedule = schedule_of(1)
    for _ in range(2):
        assert schedule.num_suspects == 0
        schedule.fail([taken(schedule)], "died", has_died=True)
    assert schedule.take() is None
    suspect = schedule.take_suspect()
    assert suspect is not None
    assert schedule.take_suspect() is None
    schedule.record_poison(suspect, {4: "exit code 3"})
    again = taken(schedule)
    assert again.poison == {4: "exit code 3"}
    assert [item.item_id for item in again.sound] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    schedule.fail([again], "died", has_died=True)
    schedule.fail([taken(schedule)], "died", has_died=True)
    suspect = schedule.take_suspect()
    assert suspect is not None
    schedule.record_poison(suspect, {5: "exit code 3"})
    assert taken(schedule).poison == {4: "exit code 3", 5: "exit code 3"}


def test_a_refusal_by_storage_makes_a_shard_no_suspect() -> None:
    schedule = schedule_of(1, max_attempts=9)
    for _ in range(8):
        schedule.fail([taken(schedule)], "503")
    assert schedule.num_suspects == 0


def test_attempts_are_counted_anew_once_poison_is_found_and_only_then() -> None:
    schedule = schedule_of(1, max_attempts=4, max_deaths=1)
    for poison in ({3: "x"}, {4: "x"}, {5: "x"}, {6: "x"}):
        schedule.fail([taken(schedule)], "died", has_died=True)
        suspect = schedule.take_suspect()
        assert suspect is not None
        schedule.record_poison(suspect, poison)
    for _ in range(3):
        schedule.fail([taken(schedule)], "died", has_died=True)
        suspect = schedule.take_suspect()
        assert suspect is not None
        schedule.record_poison(suspect, {})
    schedule.fail([taken(schedule)], "died of no item", has_died=True)
    with pytest.raises(IncompleteRunError, match="shard 0: died of no item"):
        schedule.check_complete()


def test_each_further_worker_may_fail_once_before_the_run_ends() -> None:
    schedule = schedule_of(20, max_failures_in_a_row=3)
    schedule.num_workers = 5
    for _ in range(6):
        schedule.fail([taken(schedule)], "no storage")
    with pytest.raises(IncompleteRunError, match=r"^7 attempts failed in a row, 20 .*0, 1, 2 and"):
        schedule.fail([taken(schedule)], "no storage")
