-- Take over deliveries whose lease ran out, oldest first.
--
-- request  {model, worker, lane, lease_ms, cursor, count}
--
-- Returns {next cursor, entries as XRANGE gives them}. JUSTID leaves the delivery count alone and,
-- unlike the plain form on 6.2, tells the id of an entry that has no fields left; such a one is acknowledged.

allow_at_maxmemory()
local stream, group = stream_of(request.model, request.lane), group_of(request.lane)
-- One XAUTOCLAIM looks at ten entries for each that it may claim, and then gives up: with room for few
-- and many live leases its cursor would never come round. 10,000 in a call is more than arrive in a second.
local MOST_LOOKED_AT = 10000
local cursor, looked_at, entries = request.cursor, 0, {}
repeat
  local room = request.count - #entries
  local claimed = redis.call('XAUTOCLAIM', stream, group, request.worker, request.lease_ms, cursor,
                             'COUNT', room, 'JUSTID')
  cursor, looked_at = claimed[1], looked_at + 10 * room
  for _, id in ipairs(claimed[2]) do
    local entry = redis.call('XRANGE', stream, id, id)[1]
    if entry then
      entries[#entries + 1] = entry
    else
      redis.call('XACK', stream, group, id)
    end
  end
until #entries >= request.count or cursor == '0-0' or looked_at >= MOST_LOOKED_AT
return {cursor, entries}
