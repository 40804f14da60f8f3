-- The marks that calls left in a scope, and the rules across calls that look for them; as carried.py, which says why.
--
-- A mark is a field of its scope, <kind>:<length of same>:<same><name>. Its value is when it was brought first and last,
-- `doubts` as it was then, all doubles, and the tool. A scope's `doubts` counts how often the clock was set back and nobody
-- could tell how much time went by: a mark of an earlier count may be older than it looks. `lasting` is how many labels and
-- admitted calls there are, which never give way, and `passing` how many calls that succeeded.

local MOST_NAMES, MOST_OF_A_TOOL, MOST_SUCCEEDED = 64, 128, 512
local TOOL = 25                   -- where the name of the tool begins

-- Conditions are: in which scope, what follows, whether every one has to be there, microseconds or 0 for ever, then fields.
-- Answers {4, {which condition, {which field, first, last, tool}...}...}: the first that refuses and true, or all that ask.
local function judge(scopes, conditions)
  local asking = {4}
  for i, condition in ipairs(conditions) do
    local which, follows, every, within = unpack(condition, 1, 4)
    local scope, told = scopes[which], {i - 1}
    for n = 5, #condition do
      local raw = scope.counters[condition[n]]
      if raw then
        local first, last, doubts = read('<ddd', raw)
        local unsure = follows == 'need' and doubts ~= scope.doubts
        if within == 0 or scope.now - last < within and not unsure then
          told[#told + 1] = {n - 5, first + scope.moved, last + scope.moved, sub(raw, TOOL)}
        end
      end
    end
    local there
    if every then there = #told == #condition - 3 else there = #told > 1 end
    if follows == 'need' then
      if not there then return {4, {i - 1}}, true end
    elseif there then
      if follows == 'deny' then return {4, told}, true end
      asking[#asking + 1] = told
    end
  end
  return #asking > 1 and asking
end

-- Marks are: in which scope, field, whether it succeeded, tool. Writes nothing yet; answers {5, which} where there is no room.
local function bring(scopes, marks)
  for i, mark in ipairs(marks) do
    local which, field, succeeded, tool = unpack(mark)
    local scope = scopes[which]
    local raw, first, words = scope.counters[field], scope.now, scope.words
    if raw then
      first, tool = (read('<d', raw)), sub(raw, TOOL)
    elseif succeeded then
      scope.passing = scope.passing + 1
      scope.crowded = scope.passing > MOST_OF_A_TOOL
    elseif scope.lasting >= MOST_NAMES then
      return {5, i - 1}
    else
      scope.lasting = scope.lasting + 1
    end
    raw = pack('<ddd', first, scope.now, scope.doubts) .. tool
    scope.counters[field], scope.marked = raw, true
    words[#words + 1] = field
    words[#words + 1] = raw
  end
end

-- Drops the oldest marks of tools that have too many of them, of a scope as it is on the server.
local function give_way(scope)
  local all, tools, total = call('HGETALL', scope.key), {}, 0
  for i = 1, #all, 2 do
    local length, rest = match(all[i], '^succeeded:(%d+):(.*)$')
    if length then
      local name, _, last = sub(rest, length + 1), read('<dd', all[i + 1])
      tools[name] = tools[name] or {}
      table.insert(tools[name], {last, all[i]})
      total = total + 1
    end
  end
  local order = {}
  for name, marks in pairs(tools) do
    table.sort(marks, function(one, other) return one[1] > other[1] end)
    order[#order + 1] = name
  end
  table.sort(order, function(one, other) return one > other end)
  while true do
    local fullest = tools[order[1]]
    for _, name in ipairs(order) do
      if #tools[name] > #fullest then fullest = tools[name] end
    end
    if #fullest <= MOST_OF_A_TOOL and total <= MOST_SUCCEEDED then break end
    call('HDEL', scope.key, table.remove(fullest)[2])
    total = total - 1
  end
  scope.passing = total
  local head = head_of(scope)
  call('HSET', scope.key, unpack(head))
end
