"""The model registry: loaded on first use, refreshed by TTL, never lost to a failed refresh."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ops_anomaly.aws.errors import (
    InvalidModelNameError,
    ModelNotFoundError,
    ModelUnavailableError,
    StoreUnavailableError,
)
from ops_anomaly.aws.models import INDEXED_TTL_SECONDS, ModelRegistry, write_index
from ops_anomaly.aws.objects import INDEX_KEY, check_name, model_key
from ops_anomaly.detection.types import CorruptArtifactError
from tests.support.fakes import CREATED, FakeClock, FakeStore, small_artifact

TTL = 300


class World:
    """A registry over a fake store, its clock, and the refresh failures that it reported."""

    def __init__(self, cache_bytes: int = 10**6) -> None:
        self.store, self.clock = FakeStore(), FakeClock()
        self.failures: list[tuple[str, Exception]] = []
        self.unavailable: list[str] = []
        self.registry = ModelRegistry(
            self.store,
            ttl_seconds=TTL,
            cache_bytes=cache_bytes,
            on_refresh_failed=lambda name, error: self.failures.append((name, error)),
            clock=self.clock,
        )

    def publish(self, *names: str, threshold: float = 0.75) -> dict[str, str]:
        """Publish models under these names, with nothing else in the index; return its content."""
        artifact = small_artifact(threshold)
        versions = {name: self.store.put_model(name, artifact) for name in names}
        self.store.put(INDEX_KEY, write_index(versions))
        return versions

    def published(self, *names: str) -> dict[str, str]:
        """Return the versions of these models that the registry has."""
        found = self.registry.get_published(names, lambda name, _: self.unavailable.append(name))
        return {name: model.version for name, model in found.items()}


@pytest.fixture
def world() -> World:
    return World()


def test_a_model_is_loaded_on_first_use_and_kept(world: World) -> None:
    version = world.store.put_model("ec2-cpu", small_artifact())
    model = world.registry.get("ec2-cpu")
    assert (model.version, model.created) == (version, CREATED)
    assert model.detector.predict(2.0)
    world.registry.get("ec2-cpu")
    assert world.store.reads == 1


def test_a_new_version_is_served_after_the_ttl(world: World) -> None:
    world.store.put_model("ec2-cpu", small_artifact())
    world.registry.get("ec2-cpu")
    newer = world.store.put_model("ec2-cpu", small_artifact(threshold=0.9))
    world.clock.seconds = TTL - 1
    assert world.registry.get("ec2-cpu").version != newer
    world.clock.seconds = TTL
    assert world.registry.get("ec2-cpu").version == newer


def test_a_model_is_refreshed_once_a_ttl(world: World) -> None:
    world.store.put_model("ec2-cpu", small_artifact())
    for world.clock.seconds in range(0, 2 * TTL + 1, 50):
        world.registry.get("ec2-cpu")
    assert world.store.reads == 3


@pytest.mark.parametrize("failure", ["unavailable", "deleted", "corrupt", "unexpected"])
def test_a_failed_refresh_keeps_the_old_model_and_is_reported(world: World, failure: str) -> None:
    version = world.store.put_model("ec2-cpu", small_artifact())
    world.registry.get("ec2-cpu")
    if failure == "unavailable":
        world.store.failure = StoreUnavailableError("throttled")
    elif failure == "unexpected":
        world.store.failure = KeyError("a bug")
    elif failure == "deleted":
        world.store.objects.clear()
    else:
        world.store.put_model("ec2-cpu", small_artifact(0.9), recorded_digest="0" * 64)
    world.clock.seconds = TTL
    assert world.registry.get("ec2-cpu").version == version
    assert [name for name, _ in world.failures] == ["ec2-cpu"]
    # until the next TTL, the bucket is left alone
    world.registry.get("ec2-cpu")
    assert len(world.failures) == 1


def test_a_failed_refresh_is_repeated_after_the_next_ttl(world: World) -> None:
    world.store.put_model("ec2-cpu", small_artifact())
    world.registry.get("ec2-cpu")
    world.store.failure = StoreUnavailableError("throttled")
    world.clock.seconds = TTL
    world.registry.get("ec2-cpu")
    world.store.failure = None
    newer = world.store.put_model("ec2-cpu", small_artifact(0.9))
    world.clock.seconds = 2 * TTL
    assert world.registry.get("ec2-cpu").version == newer


def test_failures_are_not_cached(world: World) -> None:
    with pytest.raises(ModelNotFoundError):
        world.registry.get("ec2-cpu")
    world.store.failure = StoreUnavailableError("timed out")
    with pytest.raises(ModelUnavailableError, match="timed out"):
        world.registry.get("ec2-cpu")
    world.store.failure = None
    world.store.put_model("ec2-cpu", small_artifact())
    assert world.registry.get("ec2-cpu").detector.predict(2.0)


def test_a_corrupt_artifact_is_never_served(world: World) -> None:
    world.store.put_model("ec2-cpu", small_artifact(), recorded_digest="0" * 64)
    with pytest.raises(ModelUnavailableError, match="SHA-256") as caught:
        world.registry.get("ec2-cpu")
    assert isinstance(caught.value.__cause__, CorruptArtifactError)


def test_the_least_recently_used_model_is_evicted_first() -> None:
    size = len(small_artifact())
    world = World(cache_bytes=2 * size)
    for name in ("a", "b", "c"):
        world.store.put_model(name, small_artifact())
    world.registry.get("a")
    world.registry.get("b")
    world.registry.get("a")
    world.registry.get("c")  # b has not been used for longest
    reads = world.store.reads
    world.registry.get("a")
    assert world.store.reads == reads
    world.registry.get("b")
    assert world.store.reads == reads + 1


def test_a_model_larger_than_the_cache_is_kept_until_the_next_one() -> None:
    world = World(cache_bytes=1)
    world.store.put_model("a", small_artifact())
    world.store.put_model("b", small_artifact())
    world.registry.get("a")
    world.registry.get("a")
    assert world.store.reads == 1
    world.registry.get("b")
    world.registry.get("a")
    assert world.store.reads == 3


def test_a_larger_version_evicts_other_models() -> None:
    small, large = small_artifact(), small_artifact(name="ec2-cpu" + "-long" * 10)
    world = World(cache_bytes=2 * len(small))
    world.store.put_model("a", small)
    world.store.put_model("b", small)
    world.registry.get("a")
    world.registry.get("b")
    world.store.put_model("b", large)
    world.clock.seconds = TTL
    world.registry.get("b")
    reads = world.store.reads
    world.registry.get("b")
    assert world.store.reads == reads
    world.registry.get("a")
    assert world.store.reads == reads + 1


# --- many models ------------------------------------------------------------------------------


def test_of_many_models_those_in_the_index_are_read_and_no_other_is_asked_for(world: World) -> None:
    versions = world.publish("a", "b")
    assert world.published("a", "b", "new") == versions
    assert world.store.reads == 3, "the index, and two models"
    assert world.unavailable == []


def test_without_an_index_no_model_is_published(world: World) -> None:
    assert world.published("a") == {}
    assert world.unavailable == []


def test_one_request_shows_which_of_many_models_have_another_version(world: World) -> None:
    versions = world.publish("a", "b")
    world.published("a", "b")
    world.clock.seconds = 10 * TTL
    reads = world.store.reads
    assert world.published("a", "b") == versions
    assert world.store.reads == reads + 1
    newer = world.store.put_model("b", small_artifact(threshold=0.9))
    world.store.put(INDEX_KEY, write_index({**versions, "b": newer}))
    assert world.published("a", "b") == {"a": versions["a"], "b": newer}
    assert world.store.reads == reads + 3, "the index, and the model that has changed"


def test_a_version_that_is_not_in_the_index_is_served_some_hours_later(world: World) -> None:
    world.publish("a")
    world.published("a")
    newer = world.store.put_model("a", small_artifact(threshold=0.9))
    world.clock.seconds = INDEXED_TTL_SECONDS - 1
    assert world.published("a") != {"a": newer}
    world.clock.seconds = INDEXED_TTL_SECONDS
    assert world.published("a") == {"a": newer}
    reads = world.store.reads
    assert world.published("a") == {"a": newer}
    assert world.store.reads == reads + 1, "newer than the index, and still read once a TTL"


def test_of_many_models_one_that_cannot_be_loaded_does_not_keep_the_others(world: World) -> None:
    versions = world.publish("a", "b", "c")
    world.store.put_model("b", small_artifact(), recorded_digest="0" * 64)
    del world.store.objects[model_key("c")]
    assert world.published("a", "b", "c") == {"a": versions["a"]}
    assert world.unavailable == ["b", "c"]


def test_of_many_models_the_cached_version_is_served_if_the_next_is_corrupt(world: World) -> None:
    versions = world.publish("a")
    world.published("a")
    newer = world.store.put_model("a", small_artifact(0.9), recorded_digest="0" * 64)
    world.store.put(INDEX_KEY, write_index({"a": newer}))
    world.clock.seconds = TTL
    assert world.published("a") == versions
    assert [name for name, _ in world.failures] == ["a"]


@pytest.mark.parametrize(
    ("damage", "reported"),
    [
        (lambda store: store.put(INDEX_KEY, b"not json"), [INDEX_KEY]),
        (lambda store: store.objects.pop(INDEX_KEY), []),
        (lambda store: setattr(store, "failure", StoreUnavailableError("503")), [INDEX_KEY]),
    ],
    ids=["corrupt", "lost", "unavailable"],
)
def test_without_the_index_the_cached_models_are_served(
    world: World, damage: Callable[[FakeStore], object], reported: list[str]
) -> None:
    versions = world.publish("a")
    world.published("a")
    damage(world.store)
    assert world.published("a", "b") == versions
    assert world.unavailable == reported


def test_without_the_bucket_nobody_knows_which_models_there_are(world: World) -> None:
    world.store.failure = StoreUnavailableError("throttled")
    with pytest.raises(StoreUnavailableError):
        world.published("a")


# --- names and the index ----------------------------------------------------------------------


def test_names_come_from_the_index(world: World) -> None:
    assert world.registry.names() == []
    world.store.put(INDEX_KEY, b'{"models": {"web": "v2", "db": "v1"}}')
    assert world.registry.names() == ["db", "web"]


def test_names_of_an_unreachable_bucket_are_unavailable(world: World) -> None:
    world.store.failure = StoreUnavailableError("timed out")
    with pytest.raises(ModelUnavailableError, match="the index of models: timed out"):
        world.registry.names()


@pytest.mark.parametrize(
    "index",
    [
        b"not json",
        b"[]",
        b'{"models": [1]}',
        b'{"models": {"web": 1}}',
        b'{"models": {"Bad Name": "v1"}}',
        b"[" * 9**5,
    ],
)
def test_a_malformed_index_is_refused(world: World, index: bytes) -> None:
    world.store.put(INDEX_KEY, index)
    with pytest.raises(ModelUnavailableError, match="index"):
        world.registry.names()


@pytest.mark.parametrize("name", ["a", "0", "ec2-cpu", "a" * 63])
def test_valid_model_names(name: str) -> None:
    assert model_key(name) == f"models/{name}/model.safetensors"


@pytest.mark.parametrize("name", ["", "-a", "A", "a/b", "..", "a" * 64, "a\n", "a_b", "ä"])
def test_invalid_model_names(name: str) -> None:
    with pytest.raises(InvalidModelNameError, match="lower-case"):
        check_name(name)
