-- Record outcomes of begun deliveries exactly once; the last one ends the job.
--
-- request  {model, worker, settlements: [{delivery…, attempt, row, outcomes, good, bad, batch_us,
--           inference_us}]}; `row` is absent for a whole chunk; `outcomes` is a blob
--
-- Returns for each settlement one of
--   'settled'  recorded by this call
--   'repeat'   recorded before
--   'gone'     the job had ended: acknowledged, dropped
--   'stale'    a newer attempt owns the chunk, or a whole one is not whole: refused, nothing acknowledged
--   'error <why>' nothing of it was recorded

allow_at_maxmemory()
local answers = each(request.settlements, function(s)
  local chunk = 'c' .. s.chunk
  local job = open_record(s.job, 'state', chunk, unpack(ENDING))
  if not job.state or job.at ~= s.at or TERMINAL[job.state] then
    acknowledge(s)
    return 'gone'
  end
  local outcomes = prefix .. 'outcomes:' .. s.job
  local field = s.row and s.chunk .. '.' .. s.row or tostring(s.chunk)
  local c = parse_chunk(job[chunk])
  if c and (c.open == 0 or c.open < s.rows and redis.call('HEXISTS', outcomes, field) == 1) then
    if c.open == 0 then acknowledge(s) end
    return 'repeat'
  end
  local rows = s.good + s.bad
  local whole = s.row or rows == s.rows
  if not c or not whole or c.attempt ~= s.attempt or c.worker ~= request.worker or c.open < rows then return 'stale' end

  redis.call('HSET', outcomes, field, blob(s.outcomes))
  c.open = c.open - rows
  c.tries = 1 -- whoever is next in this chunk has been tried by this attempt only
  set(job, chunk, format_chunk(c))
  set(job, 'batch', s.batch_us)
  set(job, 'infer', s.inference_us)
  count(job, 'good', s.good)
  count(job, 'bad', s.bad)
  close(job)
  if c.open == 0 then acknowledge(s) end
  return 'settled'
end)
write_load()
return answers
