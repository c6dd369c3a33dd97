-- Keep jobs that were answered on the line they were asked on for a shorter time: only that caller knows their ids.
--
-- request  {retention_ms, jobs: [[id, at]…]}; `at` is the acceptance that was answered
--
-- Returns how many are kept for that long from now. A job that has not ended, of another acceptance, or that is gone
-- sooner anyway, stays as it is.

allow_at_maxmemory()
local shortened = 0
for _, answered in ipairs(request.jobs) do
  local id, at = unpack(answered)
  local key = prefix .. 'job:' .. id
  local accepted, done, keep = unpack(redis.call('HMGET', key, 'at', 'done', 'keep'))
  local shorter = done and math.ceil((now - done) / 1000) + request.retention_ms
  if done and accepted == at and shorter < tonumber(keep) then
    redis.call('HSET', key, 'keep', digits(shorter))
    redis.call('PEXPIRE', key, request.retention_ms)
    redis.call('PEXPIRE', prefix .. 'outcomes:' .. id, request.retention_ms)
    shortened = shortened + 1
  end
end
return shortened
