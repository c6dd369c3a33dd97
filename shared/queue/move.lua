-- Move a preprocessed chunk from its raw lane to its model's queue, in one step.
--
-- request  {model, worker, delivery, attempt, lane, chunk: {rows, tokens, longest, payload}, spent_us, trace}
--
-- Returns 'moved', 'gone' (the job had ended or its deadline has passed: acknowledged) or 'stale' (another attempt owns it, or
-- this one moved it before: nothing happened). The chunk starts unbegun in its new queue.

allow_at_maxmemory()
local d, field = request.delivery, 'c' .. request.delivery.chunk

local function move()
  local job = open_record(d.job, 'state', 'at', 'due', 'fresh', 'raw', field)
  if not job.state or job.at ~= d.at or TERMINAL[job.state] then
    acknowledge(d)
    return 'gone'
  end
  local c = parse_chunk(job[field])
  if not c or c.attempt ~= request.attempt or c.worker ~= request.worker then return 'stale' end
  if job.due and now > tonumber(job.due) then -- moved, it would be unbegun again: too late for that
    expire(d, job, c)
    return 'gone'
  end
  acknowledge(d) -- before the append: it deletes the payload under the name that the append uses
  redis.call('HDEL', job.key, field)
  set(job, 'fresh', job.fresh + d.rows)
  set(job, 'raw', math.max(job.raw or 0, request.spent_us)) -- chunks are preprocessed beside each other
  write(job)
  append(request.model, request.lane, d.job, d.at, d.chunk, request.chunk, d.tenant, request.trace)
  return 'moved'
end

local answer = move()
write_load()
return answer
