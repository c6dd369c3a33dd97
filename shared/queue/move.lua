-- Move a preprocessed chunk from the raw stream to its model's queue, in one step.
--
-- request  {model, worker, delivery, attempt, lane, chunk: {rows, tokens, longest, payload}, trace}
--
-- Returns 'moved', 'gone' (the job had ended or its deadline has passed: acknowledged) or 'stale' (another attempt owns it, or
-- this one moved it before: nothing happened). The chunk starts unbegun in its new queue.

allow_at_maxmemory()
local d = request.delivery
local key = prefix .. 'job:' .. d.job
local job = redis.call('HMGET', key, 'state', 'at', 'due', 'c' .. d.chunk)
if not job[1] or job[2] ~= d.at or TERMINAL[job[1]] then
  acknowledge(d)
  return 'gone'
end
local c = parse_chunk(job[4])
if not c or c.attempt ~= request.attempt or c.worker ~= request.worker then return 'stale' end
if job[3] and now > tonumber(job[3]) then -- moved, it would be unbegun again: too late for that
  expire(d, key, c)
  return 'gone'
end
acknowledge(d) -- before the append: it deletes the payload under the name that the append uses
redis.call('HDEL', key, 'c' .. d.chunk)
redis.call('HINCRBY', key, 'fresh', d.rows)
append(request.model, request.lane, d.job, d.at, d.chunk, request.chunk, d.tenant, request.trace)
return 'moved'
