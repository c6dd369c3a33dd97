-- Take over deliveries whose lease ran out, oldest first.
--
-- request  {model, worker, lane, lease_ms, cursor, count}
--
-- Returns {next cursor, entries as XRANGE gives them}. JUSTID leaves the delivery count alone and,
-- unlike the plain form on 6.2, tells the id of an entry that has no fields left; such a one is acknowledged.

allow_at_maxmemory()
local stream, group = stream_of(request.model, request.lane), group_of(request.lane)
local claimed = redis.call('XAUTOCLAIM', stream, group, request.worker, request.lease_ms, request.cursor,
                           'COUNT', request.count, 'JUSTID')
local entries = {}
for _, id in ipairs(claimed[2]) do
  local entry = redis.call('XRANGE', stream, id, id)[1]
  if entry then
    entries[#entries + 1] = entry
  else
    redis.call('XACK', stream, group, id)
  end
end
return {claimed[1], entries}
