import { defineScript, type Script } from "./link.ts";

const fields = "'node', 'home', 'epoch', 'durable', 'level', 'username', 'expiry', 'disconnectedAt', 'will', 'last'";

/** A session's fields as {@linkcode claimScript} and {@linkcode adoptScript} return them; null for each that is not there. */
export type SessionFields = [
  node: Uint8Array | null,
  home: Uint8Array | null,
  epoch: Uint8Array | null,
  durable: Uint8Array | null,
  level: Uint8Array | null,
  username: Uint8Array | null,
  expiry: Uint8Array | null,
  disconnectedAt: Uint8Array | null,
  will: Uint8Array | null,
  last: Uint8Array | null,
];

/** A function of scripts: the fields with the wills of a session's former connections that are still to be seen to. */
const takenWills = `
local function takenWills()
  local taken = {}
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if string.sub(field, 1, 6) == 'taken:' then
      taken[#taken + 1] = field
      taken[#taken + 1] = redis.call('HGET', KEYS[1], field)
    end
  end
  return taken
end`;

/**
 * Makes a session this node's, whoever had it, under a new claim. The node that had it is told. If the client was connected
 * there with a will, that is kept under the claim that it was made under, until one of them has seen to it.
 *
 * KEYS: session. ARGV: client id, claim, node, the same if its client is connected or "", will or "", when it connected,
 * "1" if Redis has lost that it is durable, prefix of the nodes' channels. Returns what the session was before, and the
 * fields with wills that are to be seen to.
 */
export const claimScript: Script = defineScript(`${takenWills}
local old = redis.call('HMGET', KEYS[1], ${fields})
if old[1] and old[1] ~= '' and old[1] ~= ARGV[3] and old[9] then
  redis.call('HSET', KEYS[1], 'taken:' .. old[1] .. ' ' .. old[3], old[9])
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'home', ARGV[3], 'node', ARGV[4], 'claimedAt', ARGV[6])
redis.call('HDEL', KEYS[1], 'disconnectedAt', 'adoptedFrom')
if ARGV[5] == '' then redis.call('HDEL', KEYS[1], 'will') else redis.call('HSET', KEYS[1], 'will', ARGV[5]) end
if ARGV[7] == '1' then redis.call('HSET', KEYS[1], 'durable', 1) end
if old[2] and old[2] ~= ARGV[3] then
  redis.call('PUBLISH', ARGV[8] .. old[2], cmsgpack.pack({'taken', ARGV[1], old[3], ARGV[4]}))
end
return {old, takenWills()}
`);

/**
 * Has this node look after a session that a dead one has looked after, or an earlier life of this one. What that one
 * still writes counts no more.
 *
 * KEYS: session; on a single server also the dead node's heartbeat, with which it is not dead. ARGV: the dead node, this
 * node, claim. Returns what the session was before, and the fields with wills that are to be seen to; nil if the dead node has not looked after it, 0 if it is alive.
 */
export const adoptScript: Script = defineScript(`${takenWills}
local old = redis.call('HMGET', KEYS[1], ${fields})
if old[2] ~= ARGV[1] then return false end
if KEYS[2] and redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'epoch', ARGV[3], 'node', '', 'home', ARGV[2])
redis.call('HSETNX', KEYS[1], 'adoptedFrom', old[3])
return {old, takenWills()}
`);

/**
 * Takes a session back that another node has only looked after while this one was cut off: under the claim that this node
 * has, so that what it has on its way under that is made.
 *
 * KEYS: session. ARGV: client id, claim, node, the same if its client is connected or "", prefix of the nodes' channels.
 * Returns 1 if the session was never away, 2 if it is back, 0 if it is another node's, -1 if there is none any more.
 */
export const reclaimScript: Script = defineScript(`
local old = redis.call('HMGET', KEYS[1], 'epoch', 'adoptedFrom', 'home')
if old[1] == ARGV[2] then return 1 end
if not old[1] then return -1 end
if old[2] ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'node', ARGV[4], 'home', ARGV[3])
redis.call('HDEL', KEYS[1], 'adoptedFrom')
if old[3] ~= ARGV[3] then
  redis.call('PUBLISH', ARGV[5] .. old[3], cmsgpack.pack({'taken', ARGV[1], old[1], ARGV[3]}))
end
return 2
`);

/**
 * Makes changes to a session, if it still is under the claim that they are made under, or was only looked after by another
 * node since.
 *
 * KEYS: session, subscriptions, queue, inflight, received. ARGV: claim; then for each command the number of its values,
 * its name, the place of its key among KEYS or 0 for none, and its values. Returns 1 if the changes were made, 2 if they were
 * and the session has to be taken back, 0 if it has gone.
 */
export const changeScript: Script = defineScript(`
local claims = redis.call('HMGET', KEYS[1], 'epoch', 'adoptedFrom')
if claims[1] ~= ARGV[1] and claims[2] ~= ARGV[1] then return 0 end
local i = 2
while i <= #ARGV do
  local last = i + 2 + tonumber(ARGV[i])
  local key = KEYS[tonumber(ARGV[i + 2])]
  if key then
    redis.call(ARGV[i + 1], key, unpack(ARGV, i + 3, last))
  else
    redis.call(ARGV[i + 1], unpack(ARGV, i + 3, last))
  end
  i = last + 1
end
return claims[1] == ARGV[1] and 1 or 2
`);

/**
 * Appends messages to a session's queue, under the numbers that come next, and sends them to the node where the client is
 * connected. What was appended in the same batch before, and only the answer was lost, is not appended again: what each node
 * has appended last is kept. When a node does so for the first time, what is kept of others goes that have not for a week:
 * otherwise it would be more and more where nodes never come back under their ids.
 *
 * An entry with a state is one that this node sends by itself: it is stored with its packet identifier, if the claim is
 * still that of the session. An entry with a guard comes from a client, or has waited in its session, and is not stored
 * when that has gone to another node, where the client sends it again, or gets it.
 *
 * KEYS: session, queue, inflight; then the sessions that guards are about. ARGV: the beginning of an arrival up to the
 * number, node, incarnation, number of the batch, claim or "", most messages and most bytes in the queue of a client that
 * is not connected, "1" if the oldest are dropped then and not the new ones, prefix of the nodes' channels, the beginning
 * of what this node is told of dropped messages up to these (a megabyte of them: Redis cuts off who is sent too much), or ""
 * if it need not be, and the time in seconds since 1970; then for each message its entry, its state or "", and its guard:
 * the place of its session among KEYS with the claim, or "".
 *
 * Returns the number of the first message, the node where the client is connected, how many messages were dropped, and,
 * where some have not got a number, the numbers of all, 0 for none. Nil if there is no durable session.
 */
export const appendScript: Script = defineScript(`
local session = redis.call('HMGET', KEYS[1], 'durable', 'node', 'last', 'bytes', 'from:' .. ARGV[2], 'epoch', 'adoptedFrom')
if not session[1] then return false end
local node = session[2] or ''
local number = tonumber(session[3] or '0')
local first = number + 1
if session[5] then
  local incarnation, batch, before = string.match(session[5], '^(%S+) (%d+) (%d+) %d+$')
  if incarnation == ARGV[3] and tonumber(batch) >= tonumber(ARGV[4]) then return {tonumber(before), node, 0} end
else
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if string.sub(field, 1, 5) == 'from:' then
      local at = string.match(redis.call('HGET', KEYS[1], field), '%d+$')
      if tonumber(at) < tonumber(ARGV[11]) - 604800 then redis.call('HDEL', KEYS[1], field) end
    end
  end
end
local bytes = tonumber(session[4] or '0')
local mostMessages, mostBytes = tonumber(ARGV[6]), tonumber(ARGV[7])
local messages = redis.call('XLEN', KEYS[2])
local dropped, lost, lostBytes = 0, {}, 0
local from, oldest, place = '-', {}, 0
local function text(value) return string.format('%.0f', value) end
local function packed(entry) return '\\198' .. struct.pack('>I4', #entry) .. entry end
local function drop(entry)
  dropped = dropped + 1
  if ARGV[10] ~= '' and lostBytes < 1048576 then
    lost[#lost + 1] = packed(entry)
    lostBytes = lostBytes + #entry
  end
end
local function fits(size) return messages < mostMessages and bytes + size <= mostBytes end
local function makeRoom(size)
  while ARGV[8] == '1' and size <= mostBytes and not fits(size) do
    if place == #oldest then
      oldest, place = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', 32), 0
      if #oldest == 0 then break end
      from = '(' .. oldest[#oldest][1]
    end
    place = place + 1
    local id, entry = oldest[place][1], oldest[place][2][2]
    if redis.call('HEXISTS', KEYS[3], string.match(id, '^%d+')) == 0 then
      redis.call('XDEL', KEYS[2], id)
      messages = messages - 1
      bytes = bytes - #entry
      drop(entry)
    end
  end
  return fits(size)
end
local function isWanted(state, guard)
  if state ~= '' and session[6] ~= ARGV[5] and session[7] ~= ARGV[5] then return false end
  if guard == '' then return true end
  local place, claim = string.match(guard, '^(%d+) (.*)$')
  local claims = redis.call('HMGET', KEYS[tonumber(place)], 'epoch', 'adoptedFrom')
  return claims[1] == claim or claims[2] == claim
end
local parts, numbers, isComplete = {}, {}, true
for i = 12, #ARGV, 3 do
  local entry, state = ARGV[i], ARGV[i + 1]
  numbers[#numbers + 1] = 0
  if isWanted(state, ARGV[i + 2]) then
    number = number + 1
    if node ~= '' or makeRoom(#entry) then
      redis.call('XADD', KEYS[2], text(number) .. '-0', 'm', entry)
      messages = messages + 1
      bytes = bytes + #entry
      if state ~= '' then redis.call('HSET', KEYS[3], text(number), state) end
      parts[#parts + 1] = packed(entry)
      numbers[#numbers] = number
    else
      drop(entry)
      isComplete = false
    end
  else
    isComplete = false
  end
end
redis.call('HSET', KEYS[1], 'last', text(number), 'bytes', text(bytes),
  'from:' .. ARGV[2], ARGV[3] .. ' ' .. ARGV[4] .. ' ' .. text(first) .. ' ' .. ARGV[11])
if node ~= '' and node ~= ARGV[2] and #parts > 0 then
  redis.call('PUBLISH', ARGV[9] .. node,
    ARGV[1] .. '\\203' .. struct.pack('>d', first) .. '\\221' .. struct.pack('>I4', #parts) .. table.concat(parts))
end
if #lost > 0 then
  redis.call('PUBLISH', ARGV[9] .. ARGV[2], ARGV[10] .. '\\221' .. struct.pack('>I4', #lost) .. table.concat(lost))
end
if isComplete then return {first, node, dropped} end
return {first, node, dropped, numbers}
`);
