"""Seeded schedules: one seed is one world and everything that happens in it.

python -m tests.sim.schedules SEED        replay one seed and print what happened
python -m tests.sim.schedules SEED -s     the same, with as few actions as still fail
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

from reliable_ws.protocol.config import Config

from .finale import finish
from .guarantees import probe
from .parts import Action, Broken, Options, Story
from .world import World

WEIGHTS = {
    "send": 1.5,
    "ask": 3.0,
    "drop": 0.3,
    "lapse": 1.0,
    "grant": 1.0,
    "answer": 1.0,
    "fail": 0.3,
    "item": 4.0,
    "refuse": 0.02,
    "burst": 0.15,
    "want": 0.3,
    "take": 3.0,
    "hand": 1.0,
    "confirm": 1.0,
    "scatter": 0.5,
    "finish": 0.12,
    "close": 0.12,
    "leave": 2.0,
    "late_handlers": 2.0,
    "abort": 0.015,
    "advance": 0.7,
    "tick": 4.0,
    "late": 2.0,
    "dial": 4.0,
    "redial": 0.03,
    "pull": 8.0,
    "pull1": 2.0,
    "arrive": 7.0,
    "cut": 0.25,
    "learn": 1.0,
    "crash": 0.012,
    "restart": 0.0,
    "submit": 4.0,
    "commit": 4.0,
    "told": 4.0,
    "full": 0.1,
    "put": 0.3,
    "apply": 0.3,
    "pass_on": 0.03,
    "forget": 0.1,
    "drain": 0.02,
}
"""How likely each action is, compared with the others that can happen."""

STEPS = (0.001, 0.01, 0.026, 0.05, 0.3, 2.0)
LEAPS = (7.0, 11.0, 20.5, 60.0, 121.0, 130.0, 260.0, 310.0)

PROFILES: tuple[dict[str, float], ...] = (
    {},
    {"cut": 1.0, "learn": 0.5},
    {"finish": 0.6, "close": 0.6, "cut": 0.5},
    {"take": 0.3, "hand": 3.0, "confirm": 0.5, "close": 0.4},
    {"send": 6.0, "burst": 1.0, "take": 0.8},
    {"advance": 3.0, "forget": 0.5, "close": 0.3},
    {"crash": 0.25, "cut": 0.4},
    {"arrive": 2.0, "cut": 0.8, "learn": 0.15, "dial": 8.0},
    {"ask": 5.0, "cut": 0.8, "item": 6.0},
    {"ask": 5.0, "answer": 0.3, "drop": 0.5, "close": 0.2, "cut": 0.4},
    {"drain": 0.3, "redial": 0.3, "abort": 0.1},
)


def options_of(rng: random.Random) -> Options:
    """Draw a world."""
    few = rng.random() < 0.3
    durable = (rng.random() < 0.2, rng.random() < 0.2)
    weights = dict(WEIGHTS)
    weights.update(rng.choice(PROFILES))
    if any(durable):
        weights["crash"] = max(weights["crash"], 0.2)
    tight = rng.random() < 0.1
    parts = tight or rng.random() < 0.4
    configs = [
        Config(
            window_messages=rng.choice((1, 2, 3, 8, 64) if few else (4, 32, 1024)),
            window_bytes=rng.choice((1, 20, 100, 5000) if few else (5000, 20_000, 1 << 20)),
            outbox_messages=rng.choice((None, None, 2, 100)),
            outbox_bytes=rng.choice((None, None, 50, 30_000)),
            max_frame=16_384 if tight else rng.choice((4096, 4096, 16_384)),
            batch_messages=rng.choice((1, 3, 512)),
            session_ttl=rng.choice((120.0, 120.0, 30.0)),
        )
        for _ in range(2)
    ]
    calls = rng.choice((0, 0, 3, 12))
    if calls:
        configs = [replace(one, max_requests=rng.choice((1, 3, 1024))) for one in configs]
    small = (0,)
    near = rng.randrange(3950, 4010)
    return Options(
        initiator=configs[0],
        acceptor=configs[1],
        durable=durable,
        messages=rng.choice((3, 10, 40, 150)),
        sizes=rng.choice(((0, near), (0, 1300, near, 9000), (0, 0, 9000))) if parts else small,
        transport_limit=5000 if tight else None,
        max_frames=rng.choice(((None,), (None,), (None, 4096), (8192, None))),
        calls=calls,
        requests=((0, None, 0), (0, 0.3, 0), (rng.choice((200, 9000)), 2.0, 0), (0, None, 300)),
        answers=(0, rng.choice((100, 9000))),
        items=8,
        steps=rng.choice((15, 40, 40, 60, 90)),
        weights=tuple(weights.items()),
        finale=rng.choice(("read", "read", "calm", "close i", "close a", "gone")),
    )


def choose(rng: random.Random, world: World, weights: dict[str, float]) -> Action:
    """Draw the next action from those that can happen."""
    found = world.actions()
    total = 0.0
    sums = []
    for action in found:
        total += weights[action[0]]
        sums.append(total)
    mark = rng.random() * total
    for action, upto in zip(found, sums, strict=True):  # noqa: B007
        if mark < upto:
            break
    if action[0] == "advance":
        seconds = rng.choice(LEAPS) if rng.random() < 0.04 else rng.choice(STEPS)
        return ("advance", seconds)
    return action


def tell(
    seed: int, seen: Counter[str] | None = None, **changes: Any
) -> tuple[Story, Broken | None]:
    """Run one seed; return what was done, and what broke."""
    rng = random.Random(seed)
    options = options_of(rng)
    if seed % 2 == 0 and not any(options.durable):  # apart: all others are what they were
        options = replace(options, leaves=True)
    if changes:
        options = Options(**{**options.__dict__, **changes})
    world = World(options, seen)
    weights = dict(options.weights)
    if "durable" in changes:
        weights["crash"] = max(weights["crash"], 0.2)
    done: list[Action] = []
    try:
        for step in range(options.steps):
            action = choose(rng, world, weights)
            done.append(action)
            world.do(action)
            if step % 16 == 15:
                probe(world)
        finish(world)
    except Broken as broken:
        return Story(options, done), broken
    except Exception as error:  # the core must not raise what is not promised
        broken = Broken(f"{type(error).__name__}: {error}")
        broken.__cause__ = error
        return Story(options, done), broken
    return Story(options, done), None


def replay(story: Story, say: Any = None) -> tuple[Broken | None, list[Action]]:
    """Do the same again, leaving out what cannot happen (any more)."""
    world = World(story.options)
    world.say = say
    done: list[Action] = []
    try:
        for action in story.actions:
            found = {one[:1] if one[0] == "advance" else one for one in world.actions()}
            if (action[:1] if action[0] == "advance" else action) not in found:
                continue
            done.append(action)
            if say:
                say(f"{len(done):3} [{world.now:.3f}] {' '.join(map(str, action))}")
            world.do(action)
            probe(world)
        if say:
            say(f"    [{world.now:.3f}] finale: {story.options.finale}")
        finish(world)
    except Broken as broken:
        return broken, done
    except Exception as error:
        broken = Broken(f"{type(error).__name__}: {error}")
        broken.__cause__ = error
        return broken, done
    return None, done


def kind_of(broken: Broken | None) -> str:
    """What broke, without the numbers."""
    return "" if broken is None else "".join(c for c in str(broken) if not c.isdigit())


def shrink(story: Story, most: int = 2000) -> Story:
    """Leave out actions as long as the same thing breaks."""
    broken, actions = replay(story)
    if broken is None:
        return story
    kind = kind_of(broken)
    size = max(1, len(actions) // 2)
    runs = 0
    while runs < most:
        at, shorter = 0, False
        while at < len(actions) and runs < most:
            runs += 1
            less = actions[:at] + actions[at + size :]
            found, did = replay(Story(story.options, less))
            if found is not None and kind_of(found) == kind and len(did) < len(actions):
                actions, shorter = did, True
            else:
                at += size
        if not shorter and size == 1:
            break
        size = max(1, size // 2)
    return Story(story.options, actions)


def explain(story: Story, seed: int | None = None) -> str:
    """The trace of a story, to be read."""
    lines: list[str] = []
    options = story.options
    lines.append(f"seed {seed}" if seed is not None else "story")
    for side, config in (("initiator", options.initiator), ("acceptor", options.acceptor)):
        lines.append(
            f"  {side}: window {config.window_messages} messages, {config.window_bytes} bytes, "
            f"frame {config.max_frame}, durable {options.durable[side == 'acceptor']}"
        )
    broken, _ = replay(story, lines.append)
    lines.append(f"=> {broken if broken is not None else 'everything held'}")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    seed = int(arguments[0])
    story, broken = tell(seed)
    if broken is not None and "-s" in arguments:
        story = shrink(story)
    print(explain(story, seed))
    if broken is not None and "-v" in arguments and broken.__cause__ is not None:
        raise broken
    return broken is not None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
