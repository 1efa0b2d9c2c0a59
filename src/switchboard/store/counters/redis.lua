-- One batch of what a process has to count, in one step. Works for Redis 6.2 and newer.
--
-- ARGV[1] is msgpack: the prefix of all keys; the process; the batch's name; for how many seconds a process counts as alive
-- after it was heard of; the time, or false for this server's; whether the process joins; what it holds (pairs of key and
-- amount, set when it joins); the operations, in order:
--
--   {"T", {{kind, key, amount, limit}, ..}}   take all or none
--   {"G", {{kind, key, amount, start}, ..}}   correct; `start` is where the bucket, day or month begins
--   {"R", {{kind, key, amount, start}, ..}}   raise to at least `amount`
--   {"L", {{"h", key}, ..}}                   leave, and hold none of these any more
--
-- Kinds are "m" (the last minute), "d" (day), "c" (the calendar's month) and "h" (held). The answer is msgpack too: false
-- where nothing was done because the process is not known (any more) and has to join, else the time, how many processes
-- are alive, and {refused, used, resets} for each "T".
--
-- Keys: PREFIX alive (a sorted set: processes by when they were heard of), PREFIX last:PROCESS (the last batch and its
-- answer, so that one that is sent again is not done again), PREFIX m:KEY (a hash: bucket to amount), PREFIX d:START:KEY
-- and c:START:KEY (numbers), PREFIX h:KEY (a hash: process to amount).

local BUCKET, BUCKETS, DAY = 2, 31, 86400
local prefix, process, name, lifetime, now, joins, held, ops = unpack(cmsgpack.unpack(ARGV[1]))
local call, floor = redis.call, math.floor

local last = call("GET", prefix .. "last:" .. process)
if last and string.sub(last, 1, #name + 1) == name .. "\n" then
  return string.sub(last, #name + 2)
end
if not now then
  local t = call("TIME")
  now = tonumber(t[1]) + tonumber(t[2]) / 1000000
end

local known = {}
local function alive(p)
  if known[p] == nil then
    local seen = call("ZSCORE", prefix .. "alive", p)
    known[p] = (seen and math.abs(now - tonumber(seen)) <= lifetime) or false
  end
  return known[p]
end

local function whole(n)
  return string.format("%.0f", n)
end

if not joins and not alive(process) then
  return cmsgpack.pack(false)
end
call("ZADD", prefix .. "alive", string.format("%.3f", now), process)
known[process] = true
if joins then
  call("ZREMRANGEBYSCORE", prefix .. "alive", "-inf", string.format("(%.3f", now - lifetime))
  call("EXPIRE", prefix .. "alive", 7 * DAY)
  for _, h in ipairs(held) do
    local key = prefix .. "h:" .. h[1]
    if h[2] > 0 then
      call("HSET", key, process, whole(h[2]))
      call("EXPIRE", key, 600)
    else
      call("HDEL", key, process)
    end
  end
end

local today = floor(now / DAY)

-- The day of the month, from days since the epoch (years begin in March, eras are of 400 years).
local function day_of_month(days)
  local z = days + 719468
  local doe = z % 146097
  local yoe = floor((doe - floor(doe / 1460) + floor(doe / 36524) - floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))
  return doy - floor((153 * floor((5 * doy + 2) / 153) + 2) / 5) + 1
end

local month_start, month_end
local function span(kind)
  if kind == "d" then
    return today * DAY, (today + 1) * DAY
  end
  if not month_start then
    local first = today - day_of_month(today) + 1
    local after = first + 31
    month_start, month_end = first * DAY, (after - day_of_month(after) + 1) * DAY
  end
  return month_start, month_end
end

local bucket = floor(now / BUCKET)

-- What is in the last minute, and its oldest bucket. What lies ahead, because the clock went back, counts as of now.
local function minute(key)
  local all = call("HGETALL", key)
  local total, oldest, ahead = 0, bucket, 0
  for i = 1, #all, 2 do
    local b, n = tonumber(all[i]), tonumber(all[i + 1])
    if b > bucket then
      call("HDEL", key, all[i])
      ahead = ahead + n
    elseif b + BUCKETS <= bucket then
      call("HDEL", key, all[i])
    else
      total = total + n
      oldest = math.min(oldest, b)
    end
  end
  if ahead > 0 then
    call("HINCRBY", key, bucket, whole(ahead))
    call("EXPIRE", key, 2 * BUCKETS * BUCKET)
  end
  return total + ahead, oldest
end

local function look(kind, key)
  if kind == "m" then
    local used, oldest = minute(prefix .. "m:" .. key)
    return used, used > 0 and (oldest + BUCKETS) * BUCKET - now or 0
  elseif kind == "h" then
    local all, used = call("HGETALL", prefix .. "h:" .. key), 0
    for i = 1, #all, 2 do
      if alive(all[i]) then
        used = used + tonumber(all[i + 1])
      else
        call("HDEL", prefix .. "h:" .. key, all[i])
      end
    end
    return used, 0
  end
  local start, over = span(kind)
  local used = call("GET", prefix .. kind .. ":" .. whole(start) .. ":" .. key)
  return tonumber(used or 0), over - now
end

-- Add to the part of a counter that begins at `start`; nothing happens where it is over, or would fall below 0.
local function add(kind, key, amount, start)
  if kind == "m" then
    local b = math.min(floor(start / BUCKET), bucket)
    key = prefix .. "m:" .. key
    if b + BUCKETS > bucket then
      minute(key)
      amount = math.max(amount, -tonumber(call("HGET", key, b) or 0))
      if amount ~= 0 and tonumber(call("HINCRBY", key, b, whole(amount))) == 0 then
        call("HDEL", key, b)
      end
      call("EXPIRE", key, 2 * BUCKETS * BUCKET)
    end
  elseif kind == "h" then
    key = prefix .. "h:" .. key
    amount = math.max(amount, -tonumber(call("HGET", key, process) or 0))
    if amount ~= 0 and tonumber(call("HINCRBY", key, process, whole(amount))) == 0 then
      call("HDEL", key, process)
    end
    call("EXPIRE", key, 600)
  else
    local current, over = span(kind)
    start = math.min(start, current)
    key = prefix .. kind .. ":" .. whole(start) .. ":" .. key
    local had = call("GET", key)
    if had or (amount > 0 and start == current) then
      amount = math.max(amount, -tonumber(had or 0))
      if amount ~= 0 then
        call("INCRBY", key, whole(amount))
      end
      if start == current then
        call("EXPIRE", key, whole(over - now + 3600))
      end
    end
  end
end

local function take(takes)
  local refused, used, resets = -1, {}, {}
  for i, t in ipairs(takes) do
    used[i], resets[i] = look(t[1], t[2])
    if refused < 0 and used[i] >= t[4] then
      refused = i - 1
    end
  end
  if refused < 0 then
    for _, t in ipairs(takes) do
      if t[3] > 0 then
        add(t[1], t[2], t[3], now)
      end
    end
    for i, t in ipairs(takes) do
      used[i], resets[i] = look(t[1], t[2])
    end
  end
  return { refused, used, resets }
end

local function raise(floors)
  for _, f in ipairs(floors) do
    if f[1] ~= "h" then
      local short = f[3] - look(f[1], f[2])
      if short > 0 then
        add(f[1], f[2], short, f[4])
      end
    end
  end
end

local taken = {}
for _, op in ipairs(ops) do
  if op[1] == "T" then
    taken[#taken + 1] = take(op[2])
  elseif op[1] == "G" then
    for _, c in ipairs(op[2]) do
      add(c[1], c[2], c[3], c[4])
    end
  elseif op[1] == "R" then
    raise(op[2])
  else
    for _, h in ipairs(op[2]) do
      call("HDEL", prefix .. "h:" .. h[2], process)
    end
    call("ZREM", prefix .. "alive", process)
  end
end
local count = call("ZCOUNT", prefix .. "alive", string.format("%.3f", now - lifetime), "+inf")
local answer = cmsgpack.pack({ now, count, taken })
call("SET", prefix .. "last:" .. process, name .. "\n" .. answer, "EX", DAY)
return answer
