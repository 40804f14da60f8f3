-- The books of a Redis store: one run of this script is one whole operation.
--
-- KEYS[1] is the state of the namespace, KEYS[2...] the scopes' counters or the kept values; all share one hash tag.
-- ARGV[1] names the operation, ARGV[2] is the time in microseconds, or '' for the server's own, ARGV[3] the id that the
-- state has as far as the caller knows, or ''. Where it has another one, nothing is done, and the answer is {-1, id, reset}.
--
-- The state is a hash: 'id', 'reset' where a person put all counters to zero under that id, and 'halt:<scope>'.
--
-- A scope is a hash. Its field '' holds when it was last seen, `moved`, until when something is held, and until when the
-- server keeps it. Every other field is a counter: used, max, then its slots, oldest first, each of them when it frees
-- and how much. What was given back of a slot is a negative amount right before it. All are doubles, which hold whole
-- numbers below 2^53 exactly. Times in a scope are less `moved`: a step of the clock changes that one number, and no two
-- lives of a scope share it.

local call, read, pack, sub, format = redis.call, struct.unpack, struct.pack, string.sub, string.format
local floor, ceil, max_of = math.floor, math.ceil, math.max

local LATE = 10 * 1000000         -- a reading that is older than the last by no more came late
local DAY = 86400 * 1000000
local HEAD, SLOT = 16, 16         -- bytes

local function server_time()
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end

local function clock() return ARGV[2] ~= '' and tonumber(ARGV[2]) or server_time() end

-- Opens a scope with some of its counters; `names` is which of KEYS it is, then their fields.
local function open(names, wall)
  local key = KEYS[names[1]]
  local found = call('HMGET', key, '', unpack(names, 2))
  local scope = {key = key, wall = wall, known = found[1] and true, counters = {}, words = {}}
  local last, moved, live, kept
  if found[1] then
    last, moved, live, kept = read('<dddd', found[1])
  else
    moved = server_time()
    last, live, kept = wall - moved, 0, 0
  end
  if wall - moved < last - LATE then
    moved = wall - last
    scope.stepped = pack('<dddd', last, moved, live, kept)
  end
  scope.now, scope.moved, scope.live, scope.kept = max_of(wall - moved, last), moved, live, kept
  for i = 2, #names do scope.counters[names[i]] = found[i] end
  return scope
end

-- What a counter holds now: used, all of it as it is kept, and where in there its first live slot begins.
local function held(scope, field)
  local raw = scope.counters[field]
  if not raw then return 0, '', 1 end
  local used, first = read('<d', raw), HEAD + 1
  while first < #raw do
    local frees, amount = read('<dd', raw, first)
    if frees > scope.now then break end
    used = used - amount
    first = first + SLOT
  end
  return used, raw, first
end

-- Strings of this size are what an operation costs, so a changed one is made in one go.
local function change(scope, field, used, max, before, slot, after)
  local raw, words = pack('<dd', used, max) .. before .. slot .. after, scope.words
  scope.counters[field] = raw
  words[#words + 1] = field
  words[#words + 1] = raw
end

local function save(scope)
  -- Expiry follows the server's wall clock, so it comes a day after the last need at the earliest; and seldom.
  local renew = scope.kept < max_of(scope.live, scope.now) + DAY
  if renew then scope.kept = max_of(scope.live, scope.now) + 2 * DAY end
  call('HSET', scope.key, '', pack('<dddd', scope.now, scope.moved, scope.live, scope.kept), unpack(scope.words))
  if renew then call('PEXPIRE', scope.key, format('%.0f', (scope.kept - scope.now) / 1000)) end
end

-- How long until `amount` fits, from the caller's own reading of the clock; -1 where it never will.
local function wait(scope, used, raw, first, amount, max)
  if amount > max then return -1 end
  local missing = used + amount - max
  for at = first, #raw, SLOT do
    local frees, taken = read('<dd', raw, at)
    missing = missing - taken
    if missing <= 0 then return frees + scope.moved - scope.wall end
  end
  error('a counter does not add up')
end

-- Puts an amount into its slot; answers when that frees.
local function put(scope, field, used, raw, first, amount, max, window, aligned)
  local now, frees = scope.now + scope.moved
  if aligned then
    frees = (floor(now / window) + 1) * window
  else
    local width = max_of(floor(window / 64), 1)
    frees = ceil(now / width) * width + window
  end
  frees = frees - scope.moved
  scope.live = max_of(scope.live, frees)
  local taken, from, to = 0, #raw + 1, #raw + 1
  -- Only a step of the clock leaves slots that free later than a new one.
  while from > first do
    local when, already = read('<dd', raw, from - SLOT)
    if when < frees then break end
    from = from - SLOT
    if when == frees then
      taken = already
      break
    end
    to = from
  end
  local slot = pack('<dd', frees, taken + amount)
  change(scope, field, used + amount, max, sub(raw, first, from - 1), slot, sub(raw, to))
  return frees
end

local function open_all(groups)
  local wall, scopes = clock(), {}
  for i = 1, #groups do scopes[i] = open(groups[i], wall) end
  return scopes
end

-- ARGV: a JSON of the halts to look for, of scopes as `open` wants them, and of charges: which of these, field, amount,
-- max, window, aligned.
-- Answers the slots as packed whole numbers, or {1, which charge, used, wait}, or {2, scope, halt}.
local function reserve(keep)
  local names, groups, charges = unpack(cjson.decode(ARGV[4]))
  local state = call('HMGET', KEYS[1], 'id', 'reset', unpack(names))
  if ARGV[3] ~= '' and state[1] ~= ARGV[3] then return {-1, state[1] or '', state[2] or ''} end
  for i = 1, #names do
    if state[i + 2] then return {2, names[i], state[i + 2]} end
  end
  local scopes, slots, worst = open_all(groups), {}, nil
  for i = 1, #charges do
    local which, field, amount, max, window, aligned = unpack(charges[i])
    local scope = scopes[which]
    local used, raw, first = held(scope, field)
    if used + amount > max then
      local left = wait(scope, used, raw, first, amount, max)
      if not worst or worst[4] ~= -1 and (left == -1 or left > worst[4]) then worst = {1, i - 1, used, left} end
    elseif amount > 0 then
      slots[i] = put(scope, field, used, raw, first, amount, max, window, aligned)
    else
      slots[i] = 0
      change(scope, field, used, max, sub(raw, first), '', '')
    end
  end
  for i = 1, #scopes do
    local scope = scopes[i]
    if keep and not worst then
      save(scope)
    elseif scope.stepped then
      call('HSET', scope.key, '', scope.stepped)
    end
  end
  return worst or pack('<' .. string.rep('i8', #charges), unpack(slots))
end

if ARGV[1] == 'reserve' then return reserve(true) end
if ARGV[1] == 'peek' then return reserve(false) end

local state = call('HMGET', KEYS[1], 'id', 'reset')
if ARGV[3] ~= '' and state[1] ~= ARGV[3] then return {-1, state[1] or '', state[2] or ''} end

local operations = {}

-- ARGV: a JSON of scopes as `open` wants them, and of charges: which of these, field, amount, max, slot. Answers how many
-- were given back.
function operations.refund()
  local groups, charges = unpack(cjson.decode(ARGV[4]))
  local scopes, count = open_all(groups), 0
  for _, charge in ipairs(charges) do
    local which, field, amount, max, frees = unpack(charge)
    local scope = scopes[which]
    local raw = scope.counters[field]
    if raw and frees > scope.now then
      local _, limit = read('<dd', raw)
      local used, _, first = held(scope, field)
      local given, left, at = 0, 0, nil
      for slot = first, #raw, SLOT do
        local when, taken = read('<dd', raw, slot)
        if taken < 0 then given = given - taken end
        if when == frees then at, left = at or slot, left + taken end
      end
      if at and amount <= left and given + amount <= max then
        local back = pack('<dd', frees, -amount)
        change(scope, field, used - amount, limit, sub(raw, first, at - 1), back, sub(raw, at))
        count = count + 1
      end
    end
  end
  for _, scope in ipairs(scopes) do
    if scope.known then save(scope) end
  end
  return count
end

-- Answers for each counter of KEYS[2]: field, used, max, microseconds until something of it frees; nothing where ARGV[4]
-- asks only for scopes that hold something and this one holds nothing.
function operations.usage()
  local scope = open({2}, clock())
  if not scope.known or (ARGV[4] == '1' and scope.live <= scope.now) then return {} end
  local all, answer = call('HGETALL', KEYS[2]), {}
  for i = 1, #all, 2 do
    if all[i] ~= '' then
      scope.counters[all[i]] = all[i + 1]
      local _, max = read('<dd', all[i + 1])
      local used, raw, first = held(scope, all[i])
      local left, sum = 0, 0
      for at = first, #raw, SLOT do
        local frees, taken = read('<dd', raw, at)
        sum = sum + taken
        if sum > 0 then
          left = frees + scope.moved - scope.wall
          break
        end
      end
      for _, value in ipairs({all[i], used, max, left}) do answer[#answer + 1] = value end
    end
  end
  return answer
end

-- Forgets KEYS[2] if it holds nothing.
function operations.prune()
  local scope = open({2}, clock())
  if not scope.known or scope.live > scope.now then return 0 end
  return call('DEL', KEYS[2])
end

-- ARGV: scope, reason.
function operations.halt()
  local known = call('HGET', KEYS[1], 'halt:' .. ARGV[4])
  local since = known and string.match(known, '^(%d+):') or format('%.0f', clock())
  call('HSET', KEYS[1], 'halt:' .. ARGV[4], since .. ':' .. ARGV[5])
  return 1
end

-- Gives the state an id, ARGV[4], unless it has one; answers which it has.
function operations.hello()
  call('HSETNX', KEYS[1], 'id', ARGV[4])
  return call('HGET', KEYS[1], 'id')
end

-- Kept values are 'when it expires:value', 0 for never. KEYS[2] lists their names, KEYS[3] is the value.

local function live(kept, now)
  if not kept then return false end
  local colon = string.find(kept, ':', 1, true)
  local expires = tonumber(sub(kept, 1, colon - 1))
  return (expires == 0 or expires > now) and sub(kept, colon + 1)
end

-- ARGV: name, value, time to live in microseconds or '', 1 to keep only where nothing is held.
function operations.keep()
  local now = clock()
  if ARGV[7] == '1' and live(call('GET', KEYS[3]), now) then return 0 end
  if ARGV[6] == '' then
    call('SET', KEYS[3], '0:' .. ARGV[5])
  else
    local ttl = tonumber(ARGV[6])
    local kept = format('%.0f:', now + ttl) .. ARGV[5]
    call('SET', KEYS[3], kept, 'PX', format('%.0f', ceil((ttl + DAY) / 1000)))
  end
  call('ZADD', KEYS[2], 0, ARGV[4])
  return 1
end

function operations.get()
  return live(call('GET', KEYS[3]), clock())
end

function operations.take()
  local value = live(call('GET', KEYS[3]), clock())
  call('DEL', KEYS[3])
  call('ZREM', KEYS[2], ARGV[4])
  return value
end

-- KEYS[3...] are the values of the names in ARGV[4...]: answers those that live, and drops the names of the others.
function operations.sift()
  local now, answer = clock(), {}
  for i = 4, #ARGV do
    local value = live(call('GET', KEYS[i - 1]), now)
    answer[#answer + 1] = value
    if not value then
      call('DEL', KEYS[i - 1])
      call('ZREM', KEYS[2], ARGV[i])
    end
  end
  return answer
end

return operations[ARGV[1]]()
