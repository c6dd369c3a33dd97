-- End a job now; what is queued of it is acknowledged where it is next met.
--
-- request  {job, forward_limit_us}
--
-- Returns {1 or 0, record…}: 1 when this call canceled it or an earlier one had; {0} alone when unknown.

allow_at_maxmemory()
expire_if_due(request.job, request.forward_limit_us)
local job = open_record(request.job, 'state', unpack(ENDING))
if job.state and not TERMINAL[job.state] then finish(job, 'canceled') end
return {job.state == 'canceled' and 1 or 0, record_of(request.job)}
