-- End a job now; what is queued of it is acknowledged where it is next met.
--
-- request  {job, forward_limit_us}
--
-- Returns {1 or 0, record…}: 1 when this call canceled it or an earlier one had; {0} alone when unknown.

allow_at_maxmemory()
expire_if_due(request.job, request.forward_limit_us)
local state = redis.call('HGET', prefix .. 'job:' .. request.job, 'state')
if state and not TERMINAL[state] then
  finish(request.job, 'canceled')
  state = 'canceled'
end
return {state == 'canceled' and 1 or 0, record_of(request.job)}
