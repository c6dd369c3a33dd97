-- Look at a job, and be told of its end if it has not come.
--
-- request  {job, gateway, forward_limit_us}; gateway '' only looks
--
-- Returns the record as a flat list of names and values, with its outcomes when terminal; {} when unknown.

allow_at_maxmemory()
return each(request.jobs, function(id) return watch(id, request.gateway, request.forward_limit_us) end)
