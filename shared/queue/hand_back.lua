-- Give back all that the group holds under this worker's name, but for what it has begun.
--
-- request  {model, worker, lane, begun: entry ids}
--
-- Returns how many were handed back. Idle for a day: the next reclaim of anybody takes them, in their
-- old place, no attempt spent.

allow_at_maxmemory()
local A_DAY_MS = 86400000
local stream, group = stream_of(request.model, request.lane), group_of(request.lane)
local begun = {}
for _, id in ipairs(request.begun) do begun[id] = true end
local from, handed_back = '-', 0
while true do
  local page = redis.call('XPENDING', stream, group, from, '+', 1000, request.worker)
  for _, pending in ipairs(page) do
    if not begun[pending[1]] then
      redis.call('XCLAIM', stream, group, request.worker, 0, pending[1], 'IDLE', A_DAY_MS, 'JUSTID')
      handed_back = handed_back + 1
    end
  end
  if #page < 1000 then return handed_back end
  from = '(' .. page[#page][1]
end
