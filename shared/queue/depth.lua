-- How much waits for a model, for the gauges; changes nothing.
--
-- request  {model, lanes}
--
-- Returns {jobs, tokens, microseconds that the oldest entry not yet acknowledged has waited}.

-- The id of the oldest entry that is pending or not yet delivered.
local function oldest_in(lane)
  local stream, after = stream_of(request.model, lane), '-'
  if redis.call('EXISTS', stream) == 0 then return nil end
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local info = named(flat)
    if info.name == group_of(lane) then
      local pending = redis.call('XPENDING', stream, info.name)[2]
      if pending then return pending end
      after = '(' .. info['last-delivered-id']
    end
  end
  local first = redis.call('XRANGE', stream, after, '+', 'COUNT', 1)[1]
  return first and first[1]
end

local load = prefix .. 'load:' .. request.model
local jobs, tokens, oldest = 0, 0, nil
for _, lane in ipairs(request.lanes) do
  local known = redis.call('HMGET', load, 'jobs:' .. lane, 'tokens:' .. lane)
  jobs, tokens = jobs + (known[1] or 0), tokens + (known[2] or 0)
  local first = oldest_in(lane)
  if first then
    local at = tonumber(first:match('^%d+')) * 1000
    if not oldest or at < oldest then oldest = at end
  end
end
return {jobs, tokens, oldest and math.max(0, now - oldest) or 0}
