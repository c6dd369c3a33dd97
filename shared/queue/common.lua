-- What every verb shares; put in front of each script when it is loaded.
--
-- KEYS[1]  the partition's prefix, "penstock:{0}:"; every other key is made from it
-- ARGV[1]  the request, MessagePack
-- ARGV[n]  the binary values that the request refers to by number
--
-- A delivery, in every request: {entry, lane, job, at, chunk, rows, tokens, tenant}, of `request.model`.
-- `at` is when its job was accepted: an id that was dropped and used again is another job.

local prefix = KEYS[1]
local request = cmsgpack.unpack(ARGV[1])

local function blob(place)
  return place == 0 and '' or ARGV[place + 1]
end

local TERMINAL = {succeeded = true, failed = true, canceled = true, expired = true}
local INLINE_OUTCOMES_BYTES = 4096 -- larger ones are read from the record, not from the reply
local INLINE_PAYLOAD_BYTES = 4096
local REPLY_CAP = 10000
local DEAD_CAP = 10000

-- At maxmemory Redis refuses a script's first write, unless it is one that frees: whatever ends
-- work must go on then. Only submit, which adds work, does without this line.
local function allow_at_maxmemory()
  redis.call('DEL', prefix .. 'nothing')
end

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

-- Lua's own conversion keeps 14 digits, microseconds since 1970 have 16.
local function digits(number)
  return string.format('%.0f', number)
end

local function stream_of(model, lane)
  if lane == 'raw' then return prefix .. 'raw:' .. model end
  return prefix .. 'queue:' .. model .. ':' .. lane
end

local function group_of(lane)
  return lane == 'raw' and 'preprocessors' or 'predictors'
end

-- A flat list of names and values, as XINFO gives it, by name.
local function named(flat)
  local map = {}
  for i = 1, #flat, 2 do map[flat[i]] = flat[i + 1] end
  return map
end

-- Run `verb` on each of `list`; one that raises answers {'error', why} and leaves the others alone.
local function each(list, verb)
  local answers = {}
  for i, one in ipairs(list) do
    local ok, answer = pcall(verb, one)
    if not ok then
      answer = {'error', type(answer) == 'table' and answer.err or tostring(answer)}
    end
    answers[i] = answer
  end
  return answers
end

local function payload_key(job, at, chunk)
  return prefix .. 'payload:' .. job .. ':' .. at .. ':' .. chunk
end

-- acknowledge: take a delivery off its group. Where this call did it, and only then, the load goes
-- down and the payload goes away.
local function acknowledge(d)
  if redis.call('XACK', stream_of(request.model, d.lane), group_of(d.lane), d.entry) == 0 then return end
  local load = prefix .. 'load:' .. request.model
  redis.call('HINCRBY', load, 'tokens:' .. d.lane, -d.tokens)
  redis.call('HINCRBY', load, 'tenant:' .. d.tenant, -d.tokens)
  if d.chunk == 0 then redis.call('HINCRBY', load, 'jobs:' .. d.lane, -1) end
  redis.call('DEL', payload_key(d.job, d.at, d.chunk))
end

-- Who holds a delivery; nil once it is acknowledged, or where the group is gone with its data.
local function owner_of(d)
  local pending = redis.pcall('XPENDING', stream_of(request.model, d.lane), group_of(d.lane), d.entry, d.entry, 1)
  return pending[1] and pending[1][2]
end

-- Append a chunk to a stream and raise the load; nothing else raises it.
local function append(model, lane, job, at, index, chunk, tenant, trace)
  local fields = {'job', job, 'at', at, 'chunk', index, 'rows', chunk.rows, 'tokens', chunk.tokens,
                  'longest', chunk.longest, 'tenant', tenant}
  if trace ~= '' then fields[#fields + 1] = 'trace'; fields[#fields + 1] = trace end
  local payload = blob(chunk.payload)
  if #payload <= INLINE_PAYLOAD_BYTES then
    fields[#fields + 1] = 'payload'; fields[#fields + 1] = payload
  else
    redis.call('SET', payload_key(job, at, index), payload)
  end
  redis.call('XADD', stream_of(model, lane), '*', unpack(fields))
  local load = prefix .. 'load:' .. model
  redis.call('HINCRBY', load, 'tokens:' .. lane, chunk.tokens)
  redis.call('HINCRBY', load, 'tenant:' .. tenant, chunk.tokens)
  if index == 0 then redis.call('HINCRBY', load, 'jobs:' .. lane, 1) end
end

-- The record as a flat list of names and values, with the outcomes behind it (their names are
-- numbers, so the two cannot be mistaken) when it is terminal.
local function record_of(id)
  local record = redis.call('HGETALL', prefix .. 'job:' .. id)
  for i = 1, #record, 2 do
    if record[i] == 'state' and TERMINAL[record[i + 1]] then
      for _, part in ipairs(redis.call('HGETALL', prefix .. 'outcomes:' .. id)) do
        record[#record + 1] = part
      end
      break
    end
  end
  return record
end

-- finish: make a job terminal, start its retention, tell every watcher. Whoever ends a job ends it here.
-- Without a `state` its rows say it.
local function finish(id, state)
  local key = prefix .. 'job:' .. id
  local known = redis.call('HMGET', key, 'keep', 'watch', 'late', 'bad')
  state = state or known[3] and 'expired' or known[4] and 'failed' or 'succeeded'
  redis.call('HSET', key, 'state', state, 'done', digits(now))
  redis.call('HDEL', key, 'watch')
  redis.call('PEXPIRE', key, known[1])
  redis.call('PEXPIRE', prefix .. 'outcomes:' .. id, known[1])
  if not known[2] then return end
  local word = {'job', id}
  local record, bytes = record_of(id), 0
  for _, part in ipairs(record) do bytes = bytes + #part end
  if bytes <= INLINE_OUTCOMES_BYTES then
    for _, part in ipairs(record) do word[#word + 1] = part end
  end
  for gateway in known[2]:gmatch('%S+') do
    redis.call('XADD', prefix .. 'reply:' .. gateway, 'NOMKSTREAM', 'MAXLEN', '~', REPLY_CAP, '*', unpack(word))
  end
end

-- Take `rows` off the open ones under `name` (good, bad or late); with the last of them the job ends.
local function count(id, name, rows)
  local key = prefix .. 'job:' .. id
  if rows == 0 then return end
  redis.call('HINCRBY', key, name, rows)
  if redis.call('HINCRBY', key, 'left', -rows) <= 0 then finish(id) end
end

-- What a chunk's field in the record says, once it was begun: attempt, tries, open rows, worker.
local function parse_chunk(field)
  if not field then return nil end
  local attempt, tries, open, worker = field:match('^(%d+) (%d+) (%d+) (.*)$')
  return {attempt = tonumber(attempt), tries = tonumber(tries), open = tonumber(open), worker = worker}
end

local function format_chunk(c)
  return table.concat({c.attempt, c.tries, c.open, c.worker}, ' ')
end

-- Expire the open rows of one chunk, begun before or never, and acknowledge it; how many they were.
local function expire(d, key, c)
  if not c then redis.call('HINCRBY', key, 'fresh', -d.rows) end
  local open = c and c.open or d.rows
  local ended = {attempt = c and c.attempt or 0, tries = 0, open = 0, worker = '-'}
  redis.call('HSET', key, 'c' .. d.chunk, format_chunk(ended))
  acknowledge(d)
  count(d.job, 'late', open)
  return open
end

-- Past the deadline: what was never begun expires; past the forward limit too, all that is open.
local function expire_if_due(id, forward_limit_us)
  local key = prefix .. 'job:' .. id
  local known = redis.call('HMGET', key, 'due', 'fresh', 'left', 'state')
  if not known[1] or now <= tonumber(known[1]) or TERMINAL[known[4]] then return end
  if now > tonumber(known[1]) + forward_limit_us then
    redis.call('HSET', key, 'fresh', 0)
    count(id, 'late', tonumber(known[3]))
  elseif known[2] ~= '0' then
    redis.call('HSET', key, 'fresh', 0)
    count(id, 'late', tonumber(known[2]))
  end
end

-- watch: expire what is due, then the record if terminal, else {} with `gateway` among the watchers.
local function watch(id, gateway, forward_limit_us)
  local key = prefix .. 'job:' .. id
  expire_if_due(id, forward_limit_us)
  local known = redis.call('HMGET', key, 'state', 'watch')
  if known[1] and not TERMINAL[known[1]] and gateway ~= '' then
    local watchers = known[2] or ''
    if not (' ' .. watchers .. ' '):find(' ' .. gateway .. ' ', 1, true) then
      redis.call('HSET', key, 'watch', watchers == '' and gateway or watchers .. ' ' .. gateway)
    end
  end
  return record_of(id)
end
