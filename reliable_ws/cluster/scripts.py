"""The scripts that run in the engine. Each is one step: nothing comes between its lines.

A script is given the node that runs it, so that a node that has lost a session is refused, whatever
it believes: that is the fencing (:mod:`.routing`). All of them may run twice with the same effect,
because a client library sends a command again when the answer was lost.
"""

from __future__ import annotations

__all__ = [
    "APPEND",
    "BOX",
    "CLAIM",
    "FIND",
    "FORGET",
    "PUBLISH",
    "READ",
    "REGISTER",
    "RESTATE",
    "SEND",
    "SETTLE",
]

SETTLE = """
-- Renew a node's lease, and say whether the engine still is the one that the nodes know, and what
-- time it is there.
-- KEYS: lease, run, young, secret.  ARGV: address, lease in ms, id of the run, nonce, secret.
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[4], ARGV[5], 'NX')
local run = redis.call('GET', KEYS[2])
if not run or string.sub(run, 1, #ARGV[3]) ~= ARGV[3] then
  run = ARGV[3] .. ':' .. ARGV[4]
  redis.call('SET', KEYS[2], run)
  redis.call('SET', KEYS[3], '1', 'PX', ARGV[2])
end
local time = redis.call('TIME')
return {run, redis.call('EXISTS', KEYS[3]), redis.call('GET', KEYS[4]), time[1] .. '.' ..
  string.format('%06d', time[2])}
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
-- missing because the engine has lost it: 0, 1 or 2. All are 3 if this is another engine than the
-- node knows: then what is kept of them may lack something, and a change alone is not enough.
-- KEYS: sessions.  ARGV: node, run, then for each: attempt, ms to live, how many values, how many
-- names, the values (name, value, ...), the names of fields to forget.
local said, at = {}, 3
local id = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
if string.sub(ARGV[2], 1, #id) ~= id then
  for i = 1, #KEYS do said[i] = 3 end
  return said
end
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

# ---------------------------------------------------------------------- groups
#
# Each node has a *box*: a stream of everything that it has to read, in order. A group is a hash:
# ``epoch`` (drawn anew when the engine has lost the group), ``number`` (of its last publication),
# ``origin`` and ``base`` (epoch and number from which a group that was lost goes on), and for each
# node with members ``m:<node>`` ("count:name"), and how much of the group it has not read yet,
# ``n:<node>`` (publications) and ``b:<node>`` (bytes).
#
# A box that is missing was lost, or its node was away for longer than its time to live. Its node
# learns that from the entry ``new``, with which a box begins.

OPEN_BOX = """
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('XADD', KEYS[1], '*', 'k', 'new') end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""

BOX = f"""
-- Keep a node's box, and say of other boxes whether they exist.
-- KEYS: box, then the others.  ARGV: ms to live.
{OPEN_BOX}
local said = {{}}
for i = 2, #KEYS do said[i - 1] = redis.call('EXISTS', KEYS[i]) end
return said
"""

REGISTER = f"""
-- Say how many members a node has in some groups. An entry in its box says where each group stood
-- then: everything that is published later comes behind that entry.
-- A group that the engine had lost goes on in a new epoch, from the place (``origin``, ``base``) of
-- the node that had read most of it: nodes that have read as much have missed nothing.
-- KEYS: box.  ARGV: ms to live, node, its name, prefix of groups, prefix of boxes, ms a group
-- lives, then for each group: name, count, token that the entry gets, an epoch for the group if it
-- needs one, epoch and number that the node has read last (or an empty one).
{OPEN_BOX}
local function mark(box, name, key, token)
  local row = redis.call('HMGET', key, 'epoch', 'number', 'origin', 'base')
  redis.call('XADD', box, '*', 'k', 'at', 'g', name, 'e', row[1], 'n', row[2], 't', token,
    'o', row[3] or '', 'b', row[4] or '0')
end
for at = 7, #ARGV, 6 do
  local name, count, token, nonce = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local epoch, number = ARGV[at + 4], ARGV[at + 5]
  local key, mine = ARGV[4] .. name, 'm:' .. ARGV[2]
  if count == '0' then
    redis.call('HDEL', key, mine, 'n:' .. ARGV[2], 'b:' .. ARGV[2])
  else
    if redis.call('HSETNX', key, 'epoch', nonce) == 1 then redis.call('HSET', key, 'number', 0) end
    local row = redis.call('HMGET', key, 'epoch', 'number', 'origin', 'base')
    if epoch ~= '' and epoch ~= row[1] then
      if not row[3] and row[2] == '0' then
        redis.call('HSET', key, 'origin', epoch, 'base', number)
      elseif row[3] == epoch and tonumber(number) > tonumber(row[4]) then
        redis.call('HSET', key, 'epoch', nonce, 'number', 0, 'origin', epoch, 'base', number)
        for _, field in ipairs(redis.call('HKEYS', key)) do
          local box = ARGV[5] .. string.sub(field, 3)
          if string.sub(field, 1, 2) == 'm:' and field ~= mine
            and redis.call('EXISTS', box) == 1 then
            mark(box, name, key, 0)
          end
        end
      end
    end
    redis.call('HSET', key, mine, count .. ':' .. ARGV[3])
    mark(KEYS[1], name, key, token)
  end
  redis.call('PEXPIRE', key, ARGV[6])
end
return 0
"""

PUBLISH = """
-- Append publications to the boxes of all nodes that have members, all or none for each. The answer
-- to a batch is kept, so that a batch that is repeated is not appended again.
-- KEYS: the publisher's last batch.  ARGV: id of this batch, ms for which its answer is kept,
-- prefix of groups, prefix of boxes, ms a group lives, then for each: name of the group, its epoch
-- as far as it is known, the most publications and bytes that may wait for a node, an epoch in case
-- that the group has none, the data.
-- Answer for each: "done", epoch, number, then node and "count:name" for each node that gets it; or
-- "full" and the name of a node; or "lost": the epoch is another one.
local before = redis.call('GET', KEYS[1])
if before then
  before = cmsgpack.unpack(before)
  if before[1] == ARGV[1] then return before[2] end
end

local function look(name, nonce)
  local key = ARGV[3] .. name
  if redis.call('HSETNX', key, 'epoch', nonce) == 1 then redis.call('HSET', key, 'number', 0) end
  redis.call('PEXPIRE', key, ARGV[5])
  local row, group = {}, {key = key, nodes = {}, count = 0, bytes = 0}
  local flat = redis.call('HGETALL', key)
  for i = 1, #flat, 2 do row[flat[i]] = flat[i + 1] end
  group.epoch, group.number = row['epoch'], tonumber(row['number'])
  for field, value in pairs(row) do
    if string.sub(field, 1, 2) == 'm:' then
      local node = string.sub(field, 3)
      if redis.call('EXISTS', ARGV[4] .. node) == 0 then
        redis.call('HDEL', key, field, 'n:' .. node, 'b:' .. node)
      else
        local unread = tonumber(row['n:' .. node] or '0')
        local size = tonumber(row['b:' .. node] or '0')
        table.insert(group.nodes, {id = node, value = value, unread = unread, size = size})
      end
    end
  end
  return group
end

local function full(group, most, bytes, length)
  for _, node in ipairs(group.nodes) do
    local unread, size = node.unread + group.count, node.size + group.bytes
    if unread > 0 and (unread >= most or size + length > bytes) then return node.value end
  end
end

local groups, said = {}, {}
for at = 6, #ARGV, 6 do
  local name, epoch, data = ARGV[at], ARGV[at + 1], ARGV[at + 5]
  local group = groups[name] or look(name, ARGV[at + 4])
  groups[name] = group
  local most, bytes = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local is_full = group.is_full or full(group, most, bytes, #data)
  if epoch ~= '' and epoch ~= group.epoch then
    table.insert(said, {'lost'})
  elseif is_full then
    group.is_full = is_full  -- for all that come behind it: they keep their order
    table.insert(said, {'full', is_full})
  else
    group.number = group.number + 1
    group.count, group.bytes = group.count + 1, group.bytes + #data
    local answer = {'done', group.epoch, group.number}
    for _, node in ipairs(group.nodes) do
      redis.call('XADD', ARGV[4] .. node.id, '*', 'k', 'pub', 'g', name, 'e', group.epoch,
        'n', group.number, 'd', data)
      table.insert(answer, node.id)
      table.insert(answer, node.value)
    end
    table.insert(said, answer)
  end
end
for _, group in pairs(groups) do
  if group.count > 0 then
    redis.call('HSET', group.key, 'number', group.number)
    for _, node in ipairs(group.nodes) do
      redis.call('HINCRBY', group.key, 'n:' .. node.id, group.count)
      redis.call('HINCRBY', group.key, 'b:' .. node.id, group.bytes)
    end
  end
end
redis.call('SET', KEYS[1], cmsgpack.pack({ARGV[1], said}), 'PX', ARGV[2])
return said
"""

READ = """
-- Forget what a node has read of its box.
-- KEYS: box.  ARGV: first and last id, node, prefix of groups.
local rows = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2])
local read = {}
for _, row in ipairs(rows) do
  local fields = row[2]
  if fields[2] == 'pub' then
    local one = read[fields[4]] or {count = 0, bytes = 0}
    one.count, one.bytes = one.count + 1, one.bytes + #fields[10]
    read[fields[4]] = one
  end
  redis.call('XDEL', KEYS[1], row[1])
end
for name, one in pairs(read) do
  local key = ARGV[4] .. name
  if redis.call('HEXISTS', key, 'm:' .. ARGV[3]) == 1 then
    local names = {'n:' .. ARGV[3], 'b:' .. ARGV[3]}
    local had = redis.call('HMGET', key, unpack(names))
    redis.call('HSET', key, names[1], math.max(0, tonumber(had[1] or '0') - one.count),
      names[2], math.max(0, tonumber(had[2] or '0') - one.bytes))
  end
end
return #rows
"""

SEND = """
-- Put messages into boxes: for each 0, or 1 if there is no such box, or 2 if it is full.
-- KEYS: boxes.  ARGV: the most entries in a box, then a message for each.
local said = {}
for i, key in ipairs(KEYS) do
  if redis.call('EXISTS', key) == 0 then
    said[i] = 1
  elseif redis.call('XLEN', key) >= tonumber(ARGV[1]) then
    said[i] = 2
  else
    redis.call('XADD', key, '*', 'k', 'msg', 'd', ARGV[i + 1])
    said[i] = 0
  end
end
return said
"""
