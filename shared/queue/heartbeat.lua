-- Say that a worker is alive and how fast it is; forget those unheard of for a minute.
--
-- request  {whose: "predictors" or "preprocessors", worker, models: "<model>@<version> …", tokens_per_s, figures};
--          models '' says goodbye; figures, JSON, are for people
--
-- Returns nothing.

allow_at_maxmemory()
local key = prefix .. request.whose
local A_MINUTE_US = 60000000
if request.models == '' then
  redis.call('HDEL', key, request.worker)
else
  redis.call('HSET', key, request.worker, table.concat({digits(now), request.tokens_per_s, request.models, '|', request.figures}, ' '))
end
redis.call('PEXPIRE', key, A_MINUTE_US / 1000)
local heard = redis.call('HGETALL', key)
for i = 1, #heard, 2 do
  local seen = tonumber(heard[i + 1]:match('^%d+'))
  if not seen or now - seen > A_MINUTE_US then redis.call('HDEL', key, heard[i]) end
end
