-- The books of a Redis store: one call of this script is one whole operation.
--
-- KEYS[1] is the state of the namespace, KEYS[2...] the scopes' counters or the kept values; all share one hash tag.
-- ARGV[1] names the operation, ARGV[2] is the time in microseconds, or '' for the server's own, ARGV[3] the id that the
-- state has as far as the caller knows, or ''. Where it has another one, nothing is done, and the answer is {-1, id, reset}.
--
-- The state is a hash: 'id', 'reset' where a person put all counters to zero under that id, and 'halt:<scope>'.
--
-- A scope is a hash. Its field '' is {last, moved, live_until}; every other field is a counter, {max, used, slots...},
-- a slot being when it frees, how much, and how much of it was given back, oldest first. Times of slots, and last, are
-- less `moved`: a step of the clock changes that one number instead of them all, and no two lives of a scope share it.

local SLOTS = 64
local LATE = 10 * 1000000             -- a reading that is older than the last by no more came late
local GARBAGE_AFTER = 86400 * 1000    -- expiry, in milliseconds past the last need: it follows the server's wall clock

local function clock()
  if ARGV[2] ~= '' then return tonumber(ARGV[2]) end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function head(last, moved, live) return cmsgpack.pack({last, moved, live}) end

local function open(key, wall, fields, salt)
  local found = redis.call('HMGET', key, '', unpack(fields))
  local scope = {key = key, wall = wall, known = found[1] and true, counters = {}, changed = {}}
  local last, moved, live = wall - salt, salt, 0
  if found[1] then last, moved, live = unpack(cmsgpack.unpack(found[1])) end
  if wall - moved < last - LATE then
    moved = wall - last
    scope.stepped = head(last, moved, live)
  end
  scope.now, scope.moved, scope.live = math.max(wall - moved, last), moved, live
  for i, field in ipairs(fields) do
    if found[i + 1] then scope.counters[field] = cmsgpack.unpack(found[i + 1]) end
  end
  return scope
end

local function save(scope)
  local values = {'', head(scope.now, scope.moved, scope.live)}
  for field in pairs(scope.changed) do
    values[#values + 1] = field
    values[#values + 1] = cmsgpack.pack(scope.counters[field])
  end
  redis.call('HSET', scope.key, unpack(values))
  local left = math.max(scope.live - scope.now, 0) / 1000
  redis.call('PEXPIRE', scope.key, string.format('%.0f', math.ceil(left) + GARBAGE_AFTER))
end

local function expire(counter, now)
  local first = 3
  while counter[first] and counter[first] <= now do
    counter[2] = counter[2] - counter[first + 1]
    first = first + 3
  end
  if first == 3 then return counter end
  local kept = {counter[1], counter[2]}
  for i = first, #counter do kept[i - first + 3] = counter[i] end
  return kept
end

-- How long until `amount` fits, from the caller's own reading of the clock; -1 where it never will.
local function wait(scope, counter, amount, max)
  if amount > max then return -1 end
  local missing = counter[2] + amount - max
  for i = 3, #counter, 3 do
    missing = missing - counter[i + 1]
    if missing <= 0 then return counter[i] + scope.moved - scope.wall end
  end
  error('a counter does not add up')
end

local function put(scope, counter, amount, window, aligned)
  local now = scope.now + scope.moved
  local frees
  if aligned then
    frees = (math.floor(now / window) + 1) * window
  else
    local width = math.max(math.floor(window / SLOTS), 1)
    frees = math.ceil(now / width) * width + window
  end
  frees = frees - scope.moved
  counter[2] = counter[2] + amount
  local slot = #counter - 2
  while slot >= 3 and counter[slot] > frees do slot = slot - 3 end
  if slot >= 3 and counter[slot] == frees then
    counter[slot + 1] = counter[slot + 1] + amount
  else
    for i = #counter, slot + 3, -1 do counter[i + 3] = counter[i] end
    counter[slot + 3], counter[slot + 4], counter[slot + 5] = frees, amount, 0
    scope.live = math.max(scope.live, frees)
  end
  return frees
end

local function halted(first, count)
  if count == 0 then return nil end
  local names = {}
  for i = 1, count do names[i] = 'halt:' .. ARGV[first + i - 1] end
  local found = redis.call('HMGET', KEYS[1], unpack(names))
  for i = 1, count do
    if found[i] then return {2, ARGV[first + i - 1], found[i]} end
  end
end

local operations = {}

-- Opens the scopes of charges, which are `stride` words each from ARGV[first] on: which of KEYS, field, ...
local function open_all(first, stride, salt)
  local wall, fields, scopes = clock(), {}, {}
  for i = first, #ARGV, stride do
    local key = tonumber(ARGV[i])
    fields[key] = fields[key] or {}
    table.insert(fields[key], ARGV[i + 1])
  end
  for key, wanted in pairs(fields) do scopes[key] = open(KEYS[key], wall, wanted, salt) end
  return scopes
end

local function change(scope, field, counter)
  scope.counters[field] = counter
  scope.changed[field] = true
end

-- ARGV: salt, how many names to look up among the halts, these; then the charges: which of KEYS, field, amount, max,
-- window, 1 if aligned. Answers {0, slot...}, {1, which charge, used, wait} or {2, scope, halt}.
local function reserve(keep)
  local names = tonumber(ARGV[5])
  local stop = halted(6, names)
  if stop then return stop end
  local first = 6 + names
  local scopes = open_all(first, 6, tonumber(ARGV[4]))
  local answer, worst = {0}, nil
  for i = first, #ARGV, 6 do
    local scope, field = scopes[tonumber(ARGV[i])], ARGV[i + 1]
    local amount, max, window = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])
    local counter = expire(scope.counters[field] or {max, 0}, scope.now)
    if counter[2] + amount > max then
      local left = wait(scope, counter, amount, max)
      if not worst or worst ~= -1 and (left == -1 or left > worst) then
        worst = left
        answer = {1, (i - first) / 6, counter[2], left}
      end
    else
      counter[1] = max
      local slot = amount > 0 and put(scope, counter, amount, window, ARGV[i + 5] == '1') or 0
      if not worst then answer[#answer + 1] = slot end
      change(scope, field, counter)
    end
  end
  for _, scope in pairs(scopes) do
    if keep and not worst then
      save(scope)
    elseif scope.stepped then
      redis.call('HSET', scope.key, '', scope.stepped)
    end
  end
  return answer
end

function operations.reserve() return reserve(true) end
function operations.peek() return reserve(false) end

-- ARGV: the charges: which of KEYS, field, amount, max, slot. Answers how many were given back.
function operations.refund()
  local scopes, given = open_all(4, 5, 0), 0
  for i = 4, #ARGV, 5 do
    local scope, field = scopes[tonumber(ARGV[i])], ARGV[i + 1]
    local amount, max, frees = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])
    local counter = scope.counters[field]
    if scope.known and counter and frees > scope.now then
      counter = expire(counter, scope.now)
      local before = 0
      for slot = 3, #counter, 3 do before = before + counter[slot + 2] end
      for slot = 3, #counter, 3 do
        if counter[slot] == frees and counter[slot + 1] >= amount and before + amount <= max then
          counter[2] = counter[2] - amount
          counter[slot + 1] = counter[slot + 1] - amount
          counter[slot + 2] = counter[slot + 2] + amount
          given = given + 1
        end
      end
      change(scope, field, counter)
    end
  end
  for _, scope in pairs(scopes) do
    if scope.known then save(scope) end
  end
  return given
end

-- Answers for each counter of KEYS[2]: field, used, max, microseconds until something of it frees; nothing where ARGV[4]
-- asks only for scopes that hold something and this one holds nothing.
function operations.usage()
  local wall = clock()
  local scope = open(KEYS[2], wall, {}, 0)
  if not scope.known or (ARGV[4] == '1' and scope.live <= scope.now) then return {} end
  local all = redis.call('HGETALL', KEYS[2])
  local answer = {}
  for i = 1, #all, 2 do
    if all[i] ~= '' then
      local counter = expire(cmsgpack.unpack(all[i + 1]), scope.now)
      local frees = 0
      for slot = 3, #counter, 3 do
        if counter[slot + 1] > 0 then frees = counter[slot] + scope.moved - wall break end
      end
      for _, value in ipairs({all[i], counter[2], counter[1], frees}) do answer[#answer + 1] = value end
    end
  end
  return answer
end

-- Forgets KEYS[2] if it holds nothing.
function operations.prune()
  local scope = open(KEYS[2], clock(), {}, 0)
  if not scope.known or scope.live > scope.now then return 0 end
  return redis.call('DEL', KEYS[2])
end

function operations.halt()
  local known = redis.call('HGET', KEYS[1], 'halt:' .. ARGV[4])
  local since = known and string.match(known, '^(%d+):') or string.format('%.0f', clock())
  redis.call('HSET', KEYS[1], 'halt:' .. ARGV[4], since .. ':' .. ARGV[5])
  return 1
end

-- Gives the state an id, ARGV[4], unless it has one; answers which it has.
function operations.hello()
  redis.call('HSETNX', KEYS[1], 'id', ARGV[4])
  return redis.call('HGET', KEYS[1], 'id')
end

-- Kept values are 'when it expires:value', 0 for never. KEYS[2] lists their names, KEYS[3] is the value.

local function live(kept, now)
  if not kept then return false end
  local colon = string.find(kept, ':', 1, true)
  local expires = tonumber(string.sub(kept, 1, colon - 1))
  return (expires == 0 or expires > now) and string.sub(kept, colon + 1)
end

-- ARGV: name, value, time to live in microseconds or '', 1 to keep only where nothing is held.
function operations.keep()
  local now = clock()
  if ARGV[7] == '1' and live(redis.call('GET', KEYS[3]), now) then return 0 end
  if ARGV[6] == '' then
    redis.call('SET', KEYS[3], '0:' .. ARGV[5])
  else
    local ttl = tonumber(ARGV[6])
    local kept = string.format('%.0f:', now + ttl) .. ARGV[5]
    redis.call('SET', KEYS[3], kept, 'PX', string.format('%.0f', math.ceil(ttl / 1000) + GARBAGE_AFTER))
  end
  redis.call('ZADD', KEYS[2], 0, ARGV[4])
  return 1
end

function operations.get()
  return live(redis.call('GET', KEYS[3]), clock())
end

function operations.take()
  local value = live(redis.call('GET', KEYS[3]), clock())
  redis.call('DEL', KEYS[3])
  redis.call('ZREM', KEYS[2], ARGV[4])
  return value
end

-- KEYS[3...] are the values of the names in ARGV[4...]: answers those that live, and drops the names of the others.
function operations.sift()
  local now = clock()
  local answer = {}
  for i = 4, #ARGV do
    local value = live(redis.call('GET', KEYS[i - 1]), now)
    answer[#answer + 1] = value
    if not value then
      redis.call('DEL', KEYS[i - 1])
      redis.call('ZREM', KEYS[2], ARGV[i])
    end
  end
  return answer
end

local state = redis.call('HMGET', KEYS[1], 'id', 'reset')
if ARGV[3] ~= '' and state[1] ~= ARGV[3] then return {-1, state[1] or '', state[2] or ''} end
return operations[ARGV[1]]()
