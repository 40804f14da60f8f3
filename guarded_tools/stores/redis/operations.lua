-- What callers ask for; see counters.lua.

-- ARGV: a JSON of the halts to look for, of scopes as `open` wants them, of charges: which of these, field, amount, max,
-- window, aligned; and of conditions and marks as marks.lua wants them.
-- Answers the slots as packed whole numbers, or {1, which charge, used, wait}, or {2, scope, halt}, or {3, lost scope}, or
-- what refuses or has no room in marks.lua.
local function reserve(keep)
  local names, groups, charges, conditions, marks = unpack(cjson.decode(ARGV[4]))
  local state = call('HMGET', KEYS[1], 'id', 'reset', unpack(names))
  if ARGV[3] ~= '' and state[1] ~= ARGV[3] then return {-1, state[1] or '', state[2] or ''} end
  for i = 1, #names do
    if state[i + 2] then return {2, names[i], state[i + 2]} end
  end
  local scopes, slots, worst, charged = open_all(groups), {}, nil, {}
  if missing then return {3, missing} end
  for i = 1, #charges do
    local which, field = unpack(charges[i])
    charged[which] = charged[which] or {}
    charged[which][field] = true
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
  local answer = worst
  if conditions then
    local bound, refuses = judge(scopes, conditions)
    answer = refuses and bound or worst or bound
  end
  if marks and not answer then
    answer = bring(scopes, marks)
    if answer then return answer end
  end
  for i = 1, #scopes do
    local scope = scopes[i]
    if keep and not answer and (charged[i] or scope.marked) then
      if scope.grows then drop_crowd(scope, charged[i]) end
      save(scope)
      if scope.crowded then give_way(scope) end
    elseif scope.stepped then
      call('HSET', scope.key, unpack(scope.stepped))
    end
  end
  return answer or pack('<' .. string.rep('i8', #charges), unpack(slots))
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

-- ARGV: a JSON of scopes as `open` wants them, and of charges: which of these, field, how much more than was reserved (or
-- less), max, window, aligned, slot. Answers 1, or {3, lost scope}.
function operations.settle()
  local groups, charges = unpack(cjson.decode(ARGV[4]))
  local scopes, charged = open_all(groups), {}
  if missing then return {3, missing} end
  for _, charge in ipairs(charges) do
    local which, field = unpack(charge)
    charged[which] = charged[which] or {}
    charged[which][field] = true
  end
  for _, charge in ipairs(charges) do
    local which, field, surplus, max, window, aligned, frees = unpack(charge)
    local scope = scopes[which]
    if surplus > 0 and scope.known and not scope.counters[field] then
      inherit(scope, field, max, charged[which])
      scope.grows = true
    end
    local used, raw, first = held(scope, field)
    surplus = min_of(surplus, MOST - used)
    local left, at = 0, nil
    for slot = first, #raw, SLOT do
      local when, taken = read('<dd', raw, slot)
      if when == frees then at, left = slot, left + taken end
    end
    if surplus ~= 0 and at then
      surplus = max_of(surplus, -left)
      local _, taken = read('<dd', raw, at)
      local slot = pack('<dd', frees, taken + surplus)
      change(scope, field, used + surplus, max, sub(raw, first, at - 1), slot, sub(raw, at + SLOT))
    elseif surplus > 0 then
      put(scope, field, used, raw, first, surplus, max, window, aligned)
    elseif surplus < 0 and raw ~= '' then
      change(scope, field, used, max, sub(raw, first), '', '')
    end
  end
  for i, scope in ipairs(scopes) do
    if scope.grows then drop_crowd(scope, charged[i]) end
    save(scope)
  end
  return 1
end

-- Answers for each counter of KEYS[2]: field, used, max, microseconds until something of it frees; nothing where ARGV[4]
-- asks only for scopes that hold something and this one holds nothing.
function operations.usage()
  local scope = open({2}, clock())
  if not scope.known or (ARGV[4] == '1' and scope.live <= scope.now) then return {} end
  local all, answer = call('HGETALL', KEYS[2]), {}
  for i = 1, #all, 2 do
    if is_counter(all[i]) then
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

-- Answers for each of KEYS[2...] how full its fullest counter is, and '' where it holds nothing.
function operations.fullest()
  local now, answer = clock(), {}
  for key = 2, #KEYS - 1 do
    local scope, fullest = open({key}, now), ''
    if scope.known and scope.live > scope.now then
      local all = call('HGETALL', KEYS[key])
      fullest = 0
      for i = 1, #all, 2 do
        if is_counter(all[i]) then
          scope.counters[all[i]] = all[i + 1]
          local _, max = read('<dd', all[i + 1])
          fullest = max_of(fullest, max > 0 and (held(scope, all[i])) / max or 1)
        end
      end
      fullest = format('%.17g', fullest)
    end
    answer[#answer + 1] = fullest
  end
  return answer
end

-- ARGV: a JSON of scopes as `open` wants them, and of marks. Answers 1, or {3, lost scope}, or that there is no room.
function operations.note()
  local groups, marks = unpack(cjson.decode(ARGV[4]))
  local scopes = open_all(groups)
  if missing then return {3, missing} end
  local answer = bring(scopes, marks)
  if answer then return answer end
  for _, scope in ipairs(scopes) do
    save(scope)
    if scope.crowded then give_way(scope) end
  end
  return 1
end

-- Answers for each mark of KEYS[2]: field, first, last, tool.
function operations.carried()
  local scope = open({2}, clock())
  local all, answer = scope.known and call('HGETALL', KEYS[2]) or {}, {}
  for i = 1, #all, 2 do
    if match(all[i], '^%a+:') then
      local first, last = read('<dd', all[i + 1])
      for _, value in ipairs({all[i], first + scope.moved, last + scope.moved, sub(all[i + 1], TOOL)}) do
        answer[#answer + 1] = value
      end
    end
  end
  return answer
end

-- Takes the label of KEYS[2] away whose field is ARGV[4].
function operations.clear()
  local scope = open({2, ARGV[4]})
  if not scope.counters[ARGV[4]] then return 0 end
  call('HDEL', KEYS[2], ARGV[4])
  scope.lasting = scope.lasting - 1
  save(scope)
  return 1
end

-- Forgets KEYS[2] if it holds nothing, and if that loosens nothing.
function operations.prune()
  local scope = open({2}, clock())
  if not scope.known or scope.live > scope.now or scope.lasting > 0 then return 0 end
  if scope.passing > 0 and scope.now - scope.last < IDLE then return 0 end
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
