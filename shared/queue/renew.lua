-- Extend the leases that this worker still owns.
--
-- request  {model, worker, deliveries}
--
-- Returns the places, from 0, of those that it no longer owns. A plain XCLAIM would steal those back: look first.

allow_at_maxmemory()
local lost = {}
for i, d in ipairs(request.deliveries) do
  local stream, group = stream_of(request.model, d.lane), group_of(d.lane)
  if owner_of(d) == request.worker then
    redis.call('XCLAIM', stream, group, request.worker, 0, d.entry, 'JUSTID')
  else
    lost[#lost + 1] = i - 1
  end
end
return lost
