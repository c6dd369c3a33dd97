-- What every verb shares; put in front of each script when it is loaded.
--
-- KEYS[1]  the partition's prefix, "penstock:{0}:"; every other key is made from it
-- ARGV[1]  the request, MessagePack
-- ARGV[n]  the binary values that the request refers to by number
--
-- A delivery, in every request: {entry, lane, job, at, chunk, rows, tokens, tenant, inline}, of `request.model`.
-- `at` is when its job was accepted: an id that was dropped and used again is another job.
-- `inline`: its payload is in the entry, so there is no key to delete.
--
-- A call from Lua costs more than most commands do: what a verb changes in one record, or in the load for
-- many jobs, is written once.

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

local RAW = {raw = true, ['raw-large'] = true, ['raw-bulk'] = true} -- lanes before preprocessing

local function stream_of(model, lane)
  if RAW[lane] then return prefix .. lane .. ':' .. model end
  return prefix .. 'queue:' .. model .. ':' .. lane
end

local function group_of(lane)
  return RAW[lane] and 'preprocessors' or 'predictors'
end

-- A flat list of names and values, as XINFO gives it, by name.
local function named(flat)
  local map = {}
  for i = 1, #flat, 2 do map[flat[i]] = flat[i + 1] end
  return map
end

-- Run `verb` on each of `list`; one that raises answers 'error <why>' and leaves the others alone. Answers are
-- sentences where they can be: of a list of lists Redis 6.2 writes every list by itself to the socket, and the
-- other side wakes up for each.
local function each(list, verb)
  local answers = {}
  for i, one in ipairs(list) do
    local ok, answer = pcall(verb, one)
    if not ok then answer = 'error ' .. (type(answer) == 'table' and answer.err or tostring(answer)) end
    answers[i] = answer
  end
  return answers
end

local function payload_key(job, at, chunk)
  return prefix .. 'payload:' .. job .. ':' .. at .. ':' .. chunk
end

-- What this verb has added to each load, by key and name, and not written yet.
local unwritten = {}

local function change_load(model, name, by)
  local key = prefix .. 'load:' .. model
  unwritten[key] = unwritten[key] or {}
  unwritten[key][name] = (unwritten[key][name] or 0) + by
end

-- A verb that appends or acknowledges ends with this.
local function write_load()
  for key, changes in pairs(unwritten) do
    for name, by in pairs(changes) do redis.call('HINCRBY', key, name, by) end
  end
end

-- acknowledge: take a delivery off its group. Where this call did it, and only then, the load goes
-- down and the payload goes away.
local function acknowledge(d)
  if redis.call('XACK', stream_of(request.model, d.lane), group_of(d.lane), d.entry) == 0 then return end
  change_load(request.model, 'tokens:' .. d.lane, -d.tokens)
  change_load(request.model, 'tenant:' .. d.tenant, -d.tokens)
  if d.chunk == 0 then change_load(request.model, 'jobs:' .. d.lane, -1) end
  if not d.inline then redis.call('DEL', payload_key(d.job, d.at, d.chunk)) end
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
  change_load(model, 'tokens:' .. lane, chunk.tokens)
  change_load(model, 'tenant:' .. tenant, chunk.tokens)
  if index == 0 then change_load(model, 'jobs:' .. lane, 1) end
end

-- A job's record as a verb works on it: the fields named here, of which absent ones are nil.
local function read(job, ...)
  local names = {...}
  for i, value in ipairs(redis.call('HMGET', job.key, ...)) do job[names[i]] = value or nil end
  return job
end

local function open_record(id, ...)
  return read({id = id, key = prefix .. 'job:' .. id, changes = {}}, ...)
end

local function set(job, name, value)
  job[name] = value
  job.changes[#job.changes + 1] = name
  job.changes[#job.changes + 1] = value
end

local function write(job)
  if #job.changes > 0 then redis.call('HSET', job.key, unpack(job.changes)) end
  job.changes = {}
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

-- What watchers are told of a job's end, beside its outcomes: which acceptance of the id it is of, and what they
-- did not know then.
local TOLD = {'at', 'state', 'attempt', 'begun', 'again', 'done', 'good', 'bad', 'late', 'raw', 'batch', 'infer'}
-- The fields that `count`, `close` and `finish` need.
local ENDING = {'at', 'attempt', 'begun', 'again', 'good', 'bad', 'late', 'raw', 'batch', 'infer', 'left', 'keep', 'watch'}

local function tell(job, watchers)
  local word, bytes = {'job', job.id}, 0
  local function say(name, value) word[#word + 1] = name; word[#word + 1] = value end
  for _, name in ipairs(TOLD) do
    if job[name] then say(name, job[name]) end
  end
  local outcomes = redis.call('HGETALL', prefix .. 'outcomes:' .. job.id)
  for i = 1, #outcomes, 2 do
    bytes = bytes + #outcomes[i] + #outcomes[i + 1]
    say(outcomes[i], outcomes[i + 1])
  end
  if bytes > INLINE_OUTCOMES_BYTES then word = {'job', job.id} end
  for gateway in watchers:gmatch('%S+') do
    redis.call('XADD', prefix .. 'reply:' .. gateway, 'NOMKSTREAM', 'MAXLEN', '~', REPLY_CAP, '*', unpack(word))
  end
end

-- finish: make a job terminal, start its retention, tell every watcher. Whoever ends a job ends it here.
local function finish(job, state)
  local watchers = job.watch or ''
  set(job, 'state', state)
  set(job, 'done', digits(now))
  if watchers ~= '' then set(job, 'watch', '') end
  write(job)
  redis.call('PEXPIRE', job.key, job.keep)
  redis.call('PEXPIRE', prefix .. 'outcomes:' .. job.id, job.keep)
  if watchers ~= '' then tell(job, watchers) end
end

-- Take `rows` off the open ones under `name`: good, bad or late.
local function count(job, name, rows)
  if rows == 0 then return end
  set(job, name, (job[name] or 0) + rows)
  set(job, 'left', job.left - rows)
end

-- Write what has changed; a job whose last row has been counted ends, as its rows have it.
local function close(job)
  if tonumber(job.left) > 0 then return write(job) end
  finish(job, job.late and 'expired' or job.bad and 'failed' or 'succeeded')
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

-- Expire the open rows of one chunk, begun before (`c`) or never, and acknowledge it; how many they were.
-- Needs the job's `fresh`.
local function expire(d, job, c)
  read(job, unpack(ENDING))
  if not c then set(job, 'fresh', job.fresh - d.rows) end
  local open = c and c.open or d.rows
  local ended = {attempt = c and c.attempt or 0, tries = 0, open = 0, worker = '-'}
  set(job, 'c' .. d.chunk, format_chunk(ended))
  count(job, 'late', open)
  close(job)
  acknowledge(d)
  return open
end

-- Past the deadline: what was never begun expires; past the forward limit too, all that is open.
local function expire_if_due(id, forward_limit_us)
  local job = open_record(id, 'due', 'fresh', 'state')
  if not job.due or now <= tonumber(job.due) or TERMINAL[job.state] then return end
  read(job, unpack(ENDING))
  local ended = now > tonumber(job.due) + forward_limit_us and job.left or job.fresh
  if ended == '0' then return end
  set(job, 'fresh', 0)
  count(job, 'late', tonumber(ended))
  close(job)
end

-- watch: expire what is due, then the record if terminal, else {} with `gateway` among the watchers.
local function watch(id, gateway, forward_limit_us)
  expire_if_due(id, forward_limit_us)
  local job = open_record(id, 'state', 'watch')
  if job.state and not TERMINAL[job.state] and gateway ~= '' then
    local watchers = job.watch or ''
    if not (' ' .. watchers .. ' '):find(' ' .. gateway .. ' ', 1, true) then
      set(job, 'watch', watchers == '' and gateway or watchers .. ' ' .. gateway)
      write(job)
    end
  end
  return record_of(id)
end
