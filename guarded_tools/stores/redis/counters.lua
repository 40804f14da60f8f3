-- The books of a Redis store: one run of this script is one whole operation, and one round trip.
--
-- **The invariant.** Nothing else runs on the server meanwhile, so halts, time, all limits and all charges of a call are of
-- one moment: there is no state in between that another caller, or a crash, could see. What a caller knows from before
-- (the state's id, the time it was told) is sent along and compared here, so that no question is asked first.
--
-- KEYS[1] is the state of the namespace, KEYS[2...] the scopes' counters or the kept values; where counters are opened, the
-- last one is the list of scopes. All share one hash tag.
-- ARGV[1] names the operation; ARGV[2] is the time in microseconds, or '' for the server's own, or '<' and what that can
-- show at most; ARGV[3] the id that the state has as far as the caller knows, or ''.
-- Answers {the time, answer}; where the state has another id, nothing is done, and the answer is {-1, id, reset}.
--
-- The state is a hash: 'id', 'reset' where a person put all counters to zero under that id, 'halt:<scope>', 'ahead', how far
-- the server's clock was set forward in all, and 'listed' once there is a list.
--
-- A scope is a hash. Its field '' holds when it was last seen, `moved`, until when something is held, until when the
-- server keeps it, and the `ahead` it has heard of. Every other field, <window>:<align>:<counter>, is a counter: used, max,
-- then its slots, oldest first, each of them when it frees and how much. What was given back of a slot is a negative amount
-- right before it. All are doubles, which hold whole numbers below 2^53 exactly. Times in a scope are less `moved`: a step
-- of the clock changes that one number, and no two lives of a scope share it.
--
-- The list of scopes is a sorted set: until when the server must know each. A scope that is missing before that was evicted
-- or deleted, and its calls are refused. A member '' that never goes tells whether the list itself is.
--
-- Steps of the clock. Back: a scope was last seen later than now, so `moved` makes now that moment. Forward: no clock of a
-- server can tell that from time passing, so the callers' do. Each says what the server's clock can show at most, going by
-- what it showed them last; what is beyond goes to 'ahead', and from there into each scope's `moved` when it is opened.

local call, read, pack, sub, format, match = redis.call, struct.unpack, struct.pack, string.sub, string.format, string.match
local floor, ceil, max_of, min_of = math.floor, math.ceil, math.max, math.min

local LATE = 10 * 1000000         -- a reading that is older than the last by no more came late
local STEADY = 2 * 1000000        -- a step forward of no more is time passing, and moves no boundary
local DAY = 86400 * 1000000
local MANY = 128                  -- counters of a scope past which those that hold nothing go
local HEAD, SLOT = 16, 16         -- bytes

local ahead                       -- as the state has it, where the time is the server's
local missing                     -- a scope that should be there and is not
local listed = KEYS[#KEYS]

local function server_time()
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end

local function clock()
  if ARGV[2] ~= '' and sub(ARGV[2], 1, 1) ~= '<' then return tonumber(ARGV[2]) end
  local wall = server_time()
  ahead = tonumber(call('HGET', KEYS[1], 'ahead') or 0)
  if ARGV[2] ~= '' then
    local step = wall - ahead - tonumber(sub(ARGV[2], 2))
    if step > STEADY then
      ahead = ahead + step
      call('HSET', KEYS[1], 'ahead', format('%.0f', ahead))
    end
  end
  return wall
end

-- What of a field matters here: its window where that is aligned, else nothing.
local function aligned_window(field) return tonumber(match(field, '^(%d+):utc:') or nil) end

-- As Row in window.py: a slot that was moved off its boundary frees at the next one. In a scope's own time.
local function boundary(scope, frees, window) return ceil((frees + scope.moved - STEADY) / window) * window - scope.moved end

-- When an amount frees that is taken at a time; both by the wall.
local function when_it_frees(taken, window, aligned)
  if aligned then return (floor(taken / window) + 1) * window end
  local width = max_of(floor(window / 64), 1)
  return ceil(taken / width) * width + window
end

-- A step may hold slots of aligned counters until a boundary that nobody knew of: it is seldom, so all are looked at.
local function outlive(scope)
  local all = call('HGETALL', scope.key)
  for i = 1, #all, 2 do
    local window = all[i] ~= '' and aligned_window(all[i])
    if window then
      for at = HEAD + 1, #all[i + 1], SLOT do
        scope.live = max_of(scope.live, boundary(scope, (read('<d', all[i + 1], at)), window * 1000000))
      end
    end
  end
end

local function head_of(scope) return pack('<ddddd', scope.now, scope.moved, scope.live, scope.kept, scope.heard) end

-- Opens a scope with some of its counters; `names` is which of KEYS it is, then their fields.
local function open(names, wall)
  local key = KEYS[names[1]]
  local found = call('HMGET', key, '', unpack(names, 2))
  local scope = {key = key, wall = wall, known = found[1] and true, counters = {}, words = {}}
  if found[1] then
    local last, moved, live, kept = read('<dddd', found[1])
    local heard = #found[1] > 32 and read('<d', found[1], 33) or 0
    local stepped = false
    if ahead and ahead > heard then
      moved = moved + ahead - heard
      stepped = true
    end
    if wall - moved < last - LATE then
      moved = wall - last
      stepped = true
    end
    scope.now, scope.moved, scope.live, scope.kept, scope.heard = max_of(wall - moved, last), moved, live, kept, ahead or heard
    if stepped then
      outlive(scope)
      scope.stepped = head_of(scope)
    end
  else
    local due = call('ZSCORE', listed, key)
    if due then
      if tonumber(due) > server_time() + 1000000 then missing = key end
    elseif call('HGET', KEYS[1], 'listed') and not call('ZSCORE', listed, '') then
      missing = key
    end
    scope.moved = server_time()
    scope.now, scope.live, scope.kept, scope.heard = wall - scope.moved, 0, 0, ahead or 0
  end
  for i = 2, #names do scope.counters[names[i]] = found[i] end
  return scope
end

-- What a counter holds now: used, all of it as it is kept, where in there its first live slot begins, and its window where
-- that is aligned.
local function held(scope, field)
  local raw = scope.counters[field]
  if not raw then return 0, '', 1 end
  local used, first = read('<d', raw), HEAD + 1
  local window, now = aligned_window(field), scope.now
  if window then
    window = window * 1000000
    now = now + STEADY - (now + scope.moved) % window
  end
  while first < #raw do
    local frees, amount = read('<dd', raw, first)
    if frees > now then break end
    used = used - amount
    first = first + SLOT
  end
  return used, raw, first, window
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
  call('HSET', scope.key, '', head_of(scope), unpack(scope.words))
  if not renew then return end
  local left, now = scope.kept - scope.now, server_time()
  call('PEXPIRE', scope.key, format('%.0f', left / 1000))
  call('ZREMRANGEBYSCORE', listed, '-inf', format('(%.0f', now))
  call('ZADD', listed, format('%.0f', now + left), scope.key, 'inf', '')
  call('HSET', KEYS[1], 'listed', 1)
end

-- Forgets the counters of a scope that hold nothing, but for those of this call.
local function drop_empty(scope, charged)
  local all = call('HGETALL', scope.key)
  for i = 1, #all, 2 do
    if all[i] ~= '' and not charged[all[i]] then
      scope.counters[all[i]] = all[i + 1]
      if held(scope, all[i]) == 0 then call('HDEL', scope.key, all[i]) end
    end
  end
end

local function same_limit(one, other)
  if one == other then return true end
  local server, rest = match(one, '^([^/]*)/?(.*)$')
  local other_server, other_rest = match(other, '^([^/]*)/?(.*)$')
  return rest == other_rest and (server == '' or other_server == '')
end

-- A new counter begins with what the one before it held: of the same name, with another window, alignment or server.
local function inherit(scope, field, max, charged)
  local window, align, counter = match(field, '^(%d+):(%a+):(.*)$')
  local now, best, most = scope.now + scope.moved, {0, 0, 0, ''}, nil
  for _, other in ipairs(call('HKEYS', scope.key)) do
    local before, its_align, its_counter = match(other, '^(%d+):(%a+):(.*)$')
    if before and not charged[other] and same_limit(its_counter, counter) then
      scope.counters[other] = scope.counters[other] or call('HGET', scope.key, other)
      local used, raw, first = held(scope, other)
      local times, amounts, total = {}, {}, 0
      for at = first, #raw, SLOT do
        local frees, amount = read('<dd', raw, at)
        -- As late as it can have been: an aligned counter does not know.
        local taken = its_align == 'utc' and now or min_of(frees + scope.moved - before * 1000000, now)
        local when = when_it_frees(taken, window * 1000000, align == 'utc')
        if when > now then
          if not amounts[when] then times[#times + 1] = when end
          amounts[when] = (amounts[when] or 0) + amount
          total = total + amount
        end
      end
      local rank, better = {total, tonumber(before), its_align == 'utc' and 1 or 0, its_counter}, false
      for i = 1, 4 do
        if rank[i] ~= best[i] then
          better = rank[i] > best[i]
          break
        end
      end
      if better then best, most = rank, {times, amounts} end
    end
  end
  if not most or best[1] == 0 then return end
  local raw = {pack('<dd', best[1], max)}
  for _, when in ipairs(most[1]) do
    if most[2][when] ~= 0 then
      raw[#raw + 1] = pack('<dd', when - scope.moved, most[2][when])
      scope.live = max_of(scope.live, when - scope.moved)
    end
  end
  scope.counters[field] = table.concat(raw)
end

-- How long until `amount` fits, from the caller's own reading of the clock; -1 where it never will.
local function wait(scope, used, raw, first, amount, max, window)
  if amount > max then return -1 end
  local missing = used + amount - max
  for at = first, #raw, SLOT do
    local frees, taken = read('<dd', raw, at)
    missing = missing - taken
    if missing <= 0 then return (window and boundary(scope, frees, window) or frees) + scope.moved - scope.wall end
  end
  error('a counter does not add up')
end

-- Puts an amount into its slot; answers when that frees.
local function put(scope, field, used, raw, first, amount, max, window, aligned)
  local frees = when_it_frees(scope.now + scope.moved, window, aligned) - scope.moved
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
  local scopes, slots, worst, charged = open_all(groups), {}, nil, {}
  if missing then return {3, missing} end
  for i = 1, #groups do
    charged[i] = {}
    for n = 2, #groups[i] do charged[i][groups[i][n]] = true end
  end
  for i = 1, #charges do
    local which, field, amount, max, window, aligned = unpack(charges[i])
    local scope = scopes[which]
    if scope.known and not scope.counters[field] then
      inherit(scope, field, max, charged[which])
      scope.grows = true
    end
    local used, raw, first, boundaries = held(scope, field)
    if used + amount > max then
      local left = wait(scope, used, raw, first, amount, max, boundaries)
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
      if scope.grows and call('HLEN', scope.key) > MANY then drop_empty(scope, charged[i]) end
      save(scope)
    elseif scope.stepped then
      call('HSET', scope.key, '', scope.stepped)
    end
  end
  return worst or pack('<' .. string.rep('i8', #charges), unpack(slots))
end

-- Where no time of the server's was read, 0 stands for it.
local function done(answer)
  if type(answer) == 'table' and answer[1] == -1 then return answer end
  return {ahead and server_time() - ahead or 0, answer or false}
end

if ARGV[1] == 'reserve' then return done(reserve(true)) end
if ARGV[1] == 'peek' then return done(reserve(false)) end

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
    if raw then
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
      local used, raw, first, window = held(scope, all[i])
      local left, sum = 0, 0
      for at = first, #raw, SLOT do
        local frees, taken = read('<dd', raw, at)
        sum = sum + taken
        if sum > 0 then
          left = (window and boundary(scope, frees, window) or frees) + scope.moved - scope.wall
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
  call('ZREM', listed, KEYS[2])
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

-- The time they live by: a clock that is set forward ends none of them.
local function steady()
  local wall = clock()
  return wall - (ahead or 0)
end

local function live(kept, now)
  if not kept then return false end
  local colon = string.find(kept, ':', 1, true)
  local expires = tonumber(sub(kept, 1, colon - 1))
  return (expires == 0 or expires > now) and sub(kept, colon + 1)
end

-- ARGV: name, value, time to live in microseconds or '', 1 to keep only where nothing is held.
function operations.keep()
  local now = steady()
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
  return live(call('GET', KEYS[3]), steady())
end

function operations.take()
  local value = live(call('GET', KEYS[3]), steady())
  call('DEL', KEYS[3])
  call('ZREM', KEYS[2], ARGV[4])
  return value
end

-- KEYS[3...] are the values of the names in ARGV[4...]: answers those that live, and drops the names of the others.
function operations.sift()
  local now, answer = steady(), {}
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

return done(operations[ARGV[1]]())
