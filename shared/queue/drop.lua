-- Forget a terminal job.
--
-- request  {job}
--
-- Returns its state before the call, '' when unknown; only a terminal one was dropped.

allow_at_maxmemory()
local key = prefix .. 'job:' .. request.job
local state = redis.call('HGET', key, 'state')
if state and TERMINAL[state] then redis.call('DEL', key, prefix .. 'outcomes:' .. request.job) end
return state or ''
