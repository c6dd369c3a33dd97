-- Make or renew a gateway's reply stream; at maxmemory too.
--
-- request  {gateway, ttl_ms}
--
-- Returns the id of the last entry: replies come after it.

allow_at_maxmemory()
local key = prefix .. 'reply:' .. request.gateway
local last = redis.call('XADD', key, 'MAXLEN', '~', REPLY_CAP, '*', 'hello', '')
redis.call('PEXPIRE', key, request.ttl_ms)
return last
