"""The scripts that run in the engine. Each is one step: nothing comes between its lines.

A script is given the node that runs it, so that a node that has lost a session is refused, whatever
it believes: that is the fencing (:mod:`.routing`). All of them may run twice with the same effect,
because a client library sends a command again when the answer was lost.
"""

from __future__ import annotations

__all__ = ["APPEND", "CLAIM", "FIND", "FORGET", "RESTATE", "SETTLE"]

SETTLE = """
-- Renew a node's lease, and say whether the engine still is the one that the nodes know.
-- KEYS: lease, run, young, secret.  ARGV: address, lease in ms, id of the run, nonce, secret.
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[4], ARGV[5], 'NX')
local run = redis.call('GET', KEYS[2])
if not run or string.sub(run, 1, #ARGV[3]) ~= ARGV[3] then
  run = ARGV[3] .. ':' .. ARGV[4]
  redis.call('SET', KEYS[2], run)
  redis.call('SET', KEYS[3], '1', 'PX', ARGV[2])
end
return {run, redis.call('EXISTS', KEYS[3]), redis.call('GET', KEYS[4])}
"""

FIND = """
-- Say where a session is; make its record if there is none and it may be new.
-- KEYS: session.  ARGV: prefix of leases, node, may be made (0 or 1), ms to live, then its fields.
local owner = redis.call('HGET', KEYS[1], 'owner')
if not owner then
  if ARGV[3] == '0' then return {'nothing'} end
  redis.call('HSET', KEYS[1], unpack(ARGV, 5))
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  return {'made'}
end
local address = redis.call('GET', ARGV[1] .. owner)
local state = redis.call('HGET', KEYS[1], 'state')
if address and state ~= 'parked' and owner ~= ARGV[2] then
  return {'found', owner, address}
end
return {'found', owner, address, redis.call('HGETALL', KEYS[1])}
"""

CLAIM = """
-- Take a session whose owner is gone, or has parked it. A claim is refused unless its attempt is
-- above every attempt before; a claim that is repeated by the same node is the same claim.
-- KEYS: session.  ARGV: prefix of leases, node, owner as it was seen, attempt, ms to live.
local row = redis.call('HMGET', KEYS[1], 'owner', 'attempt', 'state')
local owner, attempt, state = row[1], tonumber(row[2] or '0'), row[3]
if not owner then return {'nothing'} end
if owner == ARGV[2] then
  if attempt > tonumber(ARGV[4]) then return {'refused'} end
else
  if owner ~= ARGV[3] or attempt >= tonumber(ARGV[4]) then return {'refused'} end
  if state ~= 'parked' and redis.call('EXISTS', ARGV[1] .. owner) == 1 then
    return {'refused'}
  end
end
redis.call('HSET', KEYS[1], 'owner', ARGV[2], 'attempt', ARGV[4], 'state', 'live')
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return {'claimed', redis.call('HGETALL', KEYS[1])}
"""

APPEND = """
-- Keep what changed in many sessions. Each is kept, or refused because another node has it, or
-- missing because the engine has lost it: 0, 1 or 2.
-- KEYS: sessions.  ARGV: node, then for each: attempt, ms to live, how many values, how many names,
-- the values (name, value, ...), the names of fields to forget.
local said, at = {}, 2
for i, key in ipairs(KEYS) do
  local attempt, ttl = ARGV[at], ARGV[at + 1]
  local values, names = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  at = at + 4
  local row = redis.call('HMGET', key, 'owner', 'attempt')
  if not row[1] then
    said[i] = 2
  elseif row[1] ~= ARGV[1] or tonumber(row[2]) > tonumber(attempt) then
    said[i] = 1
  else
    redis.call('HSET', key, 'attempt', attempt, unpack(ARGV, at, at + values - 1))
    if names > 0 then
      redis.call('HDEL', key, unpack(ARGV, at + values, at + values + names - 1))
    end
    if ttl ~= '0' then redis.call('PEXPIRE', key, ttl) end
    said[i] = 0
  end
  at = at + values + names
end
return said
"""

RESTATE = """
-- Say all that the owner has of one session, whatever the engine has: 0, or 1 if it is another's.
-- KEYS: session.  ARGV: node, attempt, ms to live, then all fields.
local row = redis.call('HMGET', KEYS[1], 'owner', 'attempt')
if row[1] and row[1] ~= ARGV[1] and tonumber(row[2] or '0') >= tonumber(ARGV[2]) then
  return 1
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 0
"""

FORGET = """
-- Forget a session that its node does not have: 0, or 1 if it is another's, or others can go on
-- with it.
-- KEYS: session.  ARGV: node.
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 1 end
if redis.call('HEXISTS', KEYS[1], 'facts') == 1 then return 1 end
redis.call('DEL', KEYS[1])
return 0
"""
