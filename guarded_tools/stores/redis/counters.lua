-- The counters of a Redis store. This file, marks.lua and operations.lua are one script, in that order: one run of it is
-- one whole operation, and one round trip.
--
-- **The invariant.** Nothing else runs on the server meanwhile, so halts, time, all limits, all rules and all charges of a
-- call are of one moment: there is no state in between that another caller, or a crash, could see. What a caller knows from
-- before (the state's id, the time it was told) is sent along and compared here, so that no question is asked first.
--
-- KEYS[1] is the state of the namespace, KEYS[2...] the scopes' hashes or the kept values; where scopes are opened, the
-- last one is the list of scopes. All share one hash tag.
-- ARGV[1] names the operation; ARGV[2] is the time in microseconds, or '' for the server's own, or '<' and what that can
-- show at most; ARGV[3] the id that the state has as far as the caller knows, or ''.
-- Answers {the time, answer}; where the state has another id, nothing is done, and the answer is {-1, id, reset}.
--
-- The state is a hash: 'id', 'reset' where a person put all counters to zero under that id, 'halt:<scope>', 'ahead', how far
-- the server's clock was set forward in all, and 'listed' once there is a list.
--
-- A scope is a hash. Its field '' is the head: when it was last seen, `moved`, until when something is held, until when the
-- server keeps it, and the `ahead` it has heard of. A scope that carries marks has the head in 'head', followed by the
-- numbers of marks.lua, and '' is '2': too short for a head, so a version that knows no marks fails rather than miss them.
-- Fields that begin with a digit, <window>:<align>:<counter>, are counters: used, max, then its slots, oldest first, each
-- of them when it frees and how much. What was given back of a slot is a negative amount right before it. All are doubles,
-- which hold whole numbers below 2^53 exactly. Times in a scope are less `moved`: a step of the clock changes that one
-- number, and no two lives of a scope share it. All other fields are marks.
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
local MOST = 2^53                 -- whole numbers are exact up to here
local MANY = 128                  -- counters of a scope past which those that hold nothing go
local IDLE = 30 * DAY             -- after its last call, a scope that only knows what succeeded may be forgotten
local FOREVER = 9e15              -- until when a scope is kept that would loosen a rule if it were forgotten
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

-- As steady() and next_boundary() in slots.py: a slot that was moved off its boundary frees at the next one. In a scope's
-- own time.
local function steady(window) return min_of(STEADY, window - 1) end
local function boundary(scope, frees, window)
  return ceil((frees + scope.moved - steady(window)) / window) * window - scope.moved
end

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
    local window = aligned_window(all[i])
    if window then
      for at = HEAD + 1, #all[i + 1], SLOT do
        scope.live = max_of(scope.live, boundary(scope, (read('<d', all[i + 1], at)), window * 1000000))
      end
    end
  end
end

local function is_counter(field) return match(field, '^%d') end

-- The head of a scope, as fields and values.
local function head_of(scope)
  local head = pack('<ddddd', scope.now, scope.moved, scope.live, scope.kept, scope.heard)
  if scope.lasting + scope.passing == 0 then return {'', head} end
  return {'', '2', 'head', head .. pack('<ddd', scope.doubts, scope.lasting, scope.passing)}
end

-- Opens a scope with some of its fields; `names` is which of KEYS it is, then these. Without `wall` no time has passed.
local function open(names, wall)
  local key = KEYS[names[1]]
  local found = call('HMGET', key, '', 'head', unpack(names, 2))
  local head = found[1]
  if head == '2' then
    head = found[2] or error('a scope has lost its head')
  elseif head and #head < 32 then
    error('a scope was written by a newer version')
  end
  local scope = {key = key, wall = wall, known = head and true, counters = {}, words = {}, doubts = 0, lasting = 0, passing = 0}
  if head then
    local last, moved, live, kept = read('<dddd', head)
    local heard = #head > 32 and read('<d', head, 33) or 0
    if #head > 40 then scope.doubts, scope.lasting, scope.passing = read('<ddd', head, 41) end
    scope.last, scope.marks, wall = last, scope.lasting + scope.passing, wall or last + moved
    local stepped = false
    if ahead and ahead > heard then
      moved = moved + ahead - heard
      stepped = true
    end
    if wall - moved < last - LATE then
      moved = wall - last
      scope.doubts = scope.doubts + 1
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
    scope.now, scope.live, scope.kept, scope.heard = (wall or scope.moved) - scope.moved, 0, 0, ahead or 0
  end
  for i = 2, #names do scope.counters[names[i]] = found[i + 1] end
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
    now = now + steady(window) - (now + scope.moved) % window
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
  local due, renew = max_of(scope.live, scope.now), scope.kept ~= FOREVER
  if scope.lasting > 0 then
    scope.kept = FOREVER
  else
    if scope.passing > 0 then due = max_of(due, scope.now + IDLE) end
    renew = not renew or scope.kept < due + DAY
    if renew then scope.kept = due + 2 * DAY end
  end
  local words = head_of(scope)
  if #words == 2 and scope.marks and scope.marks > 0 then call('HDEL', scope.key, 'head') end
  for i = 1, #scope.words do words[#words + 1] = scope.words[i] end
  call('HSET', scope.key, unpack(words))
  if not renew then return end
  local left, now = scope.kept - scope.now, server_time()
  call('ZREMRANGEBYSCORE', listed, '-inf', format('(%.0f', now))
  if scope.kept == FOREVER then
    left = FOREVER - now
    call('PERSIST', scope.key)
  else
    call('PEXPIRE', scope.key, format('%.0f', left / 1000))
  end
  call('ZADD', listed, format('%.0f', now + left), scope.key, 'inf', '')
  call('HSET', KEYS[1], 'listed', 1)
end

-- Forgets the counters of a scope that hold nothing, but for those of this call.
local function drop_empty(scope, charged)
  local all = call('HGETALL', scope.key)
  for i = 1, #all, 2 do
    if is_counter(all[i]) and not charged[all[i]] then
      scope.counters[all[i]] = all[i + 1]
      if held(scope, all[i]) == 0 then call('HDEL', scope.key, all[i]) end
    end
  end
end

local function drop_crowd(scope, charged)
  local marks = scope.marks or 0
  if call('HLEN', scope.key) - (marks > 0 and marks + 1 or 0) > MANY then drop_empty(scope, charged) end
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
