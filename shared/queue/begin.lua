-- Begin deliveries: the last check before their forward, and the next attempt number.
--
-- request  {model, worker, alone, lease_us, tries_limit, given_up, deliveries}
--          `alone`: exactly one delivery and nothing else begun; without it a chunk that was begun
--          before by another worker is not begun, but named a suspect.
--          `given_up`: the outcome (a blob) of a row that is given up
--
-- Returns {answers, queued tokens {interactive, large, bulk}, workers alive, rows that expired, rows given up};
-- an answer is one of
--   'run <attempt> <open row> …'  rows from 0; this call, or an earlier one of this worker's, began it
--   'suspect'                     begin it again, alone
--   'gone'                        finished, expired, canceled or unknown: acknowledged
--   'lost'                        another worker holds it now
--   'error <why>'                 nothing of it was begun
--
-- Safe to repeat: the same worker gets the same attempt number.

local expired_rows, given_up_rows = 0, 0

local function open_rows(d, c)
  local rows = {}
  for row = 0, d.rows - 1 do
    if c.open == d.rows or redis.call('HEXISTS', prefix .. 'outcomes:' .. d.job, d.chunk .. '.' .. row) == 0 then
      rows[#rows + 1] = row
    end
  end
  return rows
end

local function run(d, c)
  return 'run ' .. c.attempt .. ' ' .. table.concat(open_rows(d, c), ' ')
end

-- The index of a row's input in the request: what the caller knows it by.
local function input_of(d, row)
  local layout = redis.call('HGET', prefix .. 'outcomes:' .. d.job, 'layout')
  if not layout then return row end -- one chunk, in input order
  return cmsgpack.unpack(layout:sub(2))[1][d.chunk + 1][row + 1]
end

-- The first open row killed its process too often: a failure for its outcome, a copy for the operator.
local function give_up(d, job, c)
  read(job, unpack(ENDING))
  local row = open_rows(d, c)[1]
  local kind = RAW[d.lane] and 'preprocess worker' or 'predictor'
  redis.call('HSET', prefix .. 'outcomes:' .. d.job, d.chunk .. '.' .. row, blob(request.given_up))
  redis.call('XADD', prefix .. 'dead:' .. request.model:match('^(.*)@'), 'MAXLEN', '~', DEAD_CAP, '*',
             'job', d.job, 'input', input_of(d, row), 'chunk', d.chunk, 'row', row, 'model', request.model, 'attempts', c.attempt,
             'worker', c.worker, 'reason', 'the ' .. kind .. ' died on every attempt')
  c.open = c.open - 1
  c.tries = 0
  set(job, 'c' .. d.chunk, format_chunk(c))
  count(job, 'bad', 1)
  close(job)
  if c.open == 0 then acknowledge(d) end
  given_up_rows = given_up_rows + 1
end

-- Entries whose lease starts anew, by lane.
local begun = {}

local function begin(d)
  if owner_of(d) ~= request.worker then return 'lost' end

  local field = 'c' .. d.chunk
  local job = open_record(d.job, 'state', 'at', 'due', 'fresh', 'attempt', field)
  local c = parse_chunk(job[field])
  local expired_earlier = not c and job.fresh == '0'
  if not job.state or job.at ~= d.at or TERMINAL[job.state] or expired_earlier or (c and c.open == 0) then
    acknowledge(d)
    return 'gone'
  end
  if c and c.worker == request.worker then return run(d, c) end
  if job.due and now > tonumber(job.due) then
    expired_rows = expired_rows + expire(d, job, c)
    return 'gone'
  end
  if c and not request.alone then return 'suspect' end
  if c and c.tries >= request.tries_limit then
    give_up(d, job, c)
    if c.open == 0 then return 'gone' end
  end

  if not c then
    c = {attempt = 0, tries = 0, open = d.rows}
    set(job, 'fresh', job.fresh - d.rows)
  end
  c.attempt, c.tries, c.worker = c.attempt + 1, c.tries + 1, request.worker
  set(job, field, format_chunk(c))
  if c.attempt > tonumber(job.attempt or 0) then set(job, 'attempt', c.attempt) end
  if job.state == 'queued' and not RAW[d.lane] then -- preprocessed, it is still queued
    set(job, 'state', 'running')
    set(job, 'begun', digits(now))
  elseif not RAW[d.lane] then -- what went before was the queue's, or a lost attempt's: not settling
    set(job, 'again', digits(now))
  end
  write(job)
  begun[d.lane] = begun[d.lane] or {}
  table.insert(begun[d.lane], d.entry)
  return run(d, c)
end

local function start_leases()
  for lane, entries in pairs(begun) do
    local claim = {'XCLAIM', stream_of(request.model, lane), group_of(lane), request.worker, 0}
    for _, entry in ipairs(entries) do claim[#claim + 1] = entry end
    claim[#claim + 1] = 'JUSTID'
    redis.call(unpack(claim))
  end
end

-- Workers of this model that were heard of within the last lease.
local function alive()
  local heard = redis.call('HGETALL', prefix .. 'predictors')
  local workers = 0
  for i = 2, #heard, 2 do
    local seen, _, models = heard[i]:match('^(%d+) (%S+) (.*)$')
    if seen and now - tonumber(seen) < request.lease_us
       and (' ' .. models .. ' '):find(' ' .. request.model .. ' ', 1, true) then
      workers = workers + 1
    end
  end
  return workers
end

allow_at_maxmemory()
local answers = each(request.deliveries, begin)
start_leases()
write_load()
local queued = redis.call('HMGET', prefix .. 'load:' .. request.model, 'tokens:interactive', 'tokens:large', 'tokens:bulk')
for i = 1, 3 do queued[i] = tonumber(queued[i] or 0) end
return {answers, queued, alive(), expired_rows, given_up_rows}
