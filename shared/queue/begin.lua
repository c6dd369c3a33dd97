-- Begin deliveries: the last check before their forward, and the next attempt number.
--
-- request  {model, worker, alone, lease_us, tries_limit, given_up, deliveries}
--          `alone`: exactly one delivery and nothing else begun; without it a chunk that was begun
--          before by another worker is not begun, but named a suspect.
--          `given_up`: the outcome (a blob) of a row that is given up
--
-- Returns {answers, queued tokens of interactive, of bulk, workers alive, rows that expired, rows given up};
-- an answer is one of
--   {'run', attempt, open rows…}   rows from 0; this call, or an earlier one of this worker's, began it
--   {'suspect'}                    begin it again, alone
--   {'gone'}                       finished, expired, canceled or unknown: acknowledged
--   {'lost'}                       another worker holds it now
--   {'error', why}                 nothing of it was begun
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

-- The first open row killed its process too often: a failure for its outcome, a copy for the operator.
local function give_up(d, key, c)
  local row = open_rows(d, c)[1]
  redis.call('HSET', prefix .. 'outcomes:' .. d.job, d.chunk .. '.' .. row, blob(request.given_up))
  redis.call('XADD', prefix .. 'dead:' .. request.model:match('^(.*)@'), 'MAXLEN', '~', DEAD_CAP, '*',
             'job', d.job, 'chunk', d.chunk, 'row', row, 'model', request.model, 'attempts', c.attempt,
             'worker', c.worker, 'reason', 'the predictor died on every attempt')
  c.open = c.open - 1
  c.tries = 0
  redis.call('HSET', key, 'c' .. d.chunk, format_chunk(c))
  if c.open == 0 then acknowledge(d) end
  given_up_rows = given_up_rows + 1
  count(d.job, 'bad', 1)
end

local function begin(d)
  if owner_of(d) ~= request.worker then return {'lost'} end

  local key = prefix .. 'job:' .. d.job
  local job = redis.call('HMGET', key, 'state', 'due', 'fresh', 'attempt', 'at', 'c' .. d.chunk)
  local c = parse_chunk(job[6])
  local expired_earlier = not c and job[3] == '0'
  if not job[1] or job[5] ~= d.at or TERMINAL[job[1]] or expired_earlier or (c and c.open == 0) then
    acknowledge(d)
    return {'gone'}
  end
  if c and c.worker == request.worker then return {'run', c.attempt, unpack(open_rows(d, c))} end
  if job[2] and now > tonumber(job[2]) then
    expired_rows = expired_rows + expire(d, key, c)
    return {'gone'}
  end
  if c and not request.alone then return {'suspect'} end
  if c and c.tries >= request.tries_limit then
    give_up(d, key, c)
    if c.open == 0 then return {'gone'} end
  end

  local changes = {} -- written at once: a call from Lua costs more than a field
  local function change(name, value) changes[#changes + 1] = name; changes[#changes + 1] = value end
  if not c then
    c = {attempt = 0, tries = 0, open = d.rows}
    change('fresh', job[3] - d.rows)
  end
  c.attempt, c.tries, c.worker = c.attempt + 1, c.tries + 1, request.worker
  change('c' .. d.chunk, format_chunk(c))
  if c.attempt > tonumber(job[4] or 0) then change('attempt', c.attempt) end
  if job[1] == 'queued' then change('state', 'running'); change('begun', digits(now)) end
  redis.call('HSET', key, unpack(changes))
  redis.call('XCLAIM', stream_of(request.model, d.lane), group_of(d.lane), request.worker, 0, d.entry, 'JUSTID')
  return {'run', c.attempt, unpack(open_rows(d, c))}
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
local load = redis.call('HMGET', prefix .. 'load:' .. request.model, 'tokens:interactive', 'tokens:bulk')
return {answers, tonumber(load[1] or 0), tonumber(load[2] or 0), alive(), expired_rows, given_up_rows}
