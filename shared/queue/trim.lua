-- Cut what every stream of a model no longer needs, and forget consumers that are gone.
--
-- request  {model, silent_ms}
--
-- Returns nothing. XTRIM MINID at the oldest pending entry or, with none, at the last delivered one:
-- beyond it nothing was delivered. Never XDEL, which makes the group's lag unknown. With nothing
-- pending and nothing undelivered in any lane the load is what it must be: nothing.

allow_at_maxmemory()

local LANES = {'interactive', 'large', 'bulk', 'raw', 'raw-large', 'raw-bulk'} -- all, whoever trims: they share the load

-- Consumers long silent and without pending entries; DELCONSUMER would drop those.
local function forget_the_silent(stream, group)
  for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
    local consumer = named(flat)
    if consumer.pending == 0 and consumer.idle > request.silent_ms then
      redis.call('XGROUP', 'DELCONSUMER', stream, group, consumer.name)
    end
  end
end

-- Trim one stream; true when its group has nothing pending and nothing left to deliver.
local function trim(lane)
  local stream, group = stream_of(request.model, lane), group_of(lane)
  if redis.call('EXISTS', stream) == 0 then return true end
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local info = named(flat)
    if info.name == group then
      local oldest = redis.call('XPENDING', stream, group)[2]
      redis.call('XTRIM', stream, 'MINID', oldest or info['last-delivered-id'])
      forget_the_silent(stream, group)
      return not oldest and named(redis.call('XINFO', 'STREAM', stream))['last-generated-id'] == info['last-delivered-id']
    end
  end
  return false -- nobody has read it yet
end

local at_rest = true
for _, lane in ipairs(LANES) do
  at_rest = trim(lane) and at_rest
end
if at_rest then redis.call('DEL', prefix .. 'load:' .. request.model) end
