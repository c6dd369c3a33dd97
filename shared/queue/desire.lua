-- Write what is wanted of one model, and raise the catalogue's revision.
--
-- KEYS penstock:{0}:catalogue  hash  revision; model:<name> → JSON
--
-- request  {model, wanted: JSON or '' for what its files say, expected: a revision or nil}
--
-- Returns 'set <revision>', or 'conflict <revision>' where it is not the expected one: nothing was written.

allow_at_maxmemory()
local key = prefix .. 'catalogue'
local revision = tonumber(redis.call('HGET', key, 'revision') or 0)
if request.expected and request.expected ~= revision then return 'conflict ' .. revision end
if request.wanted == '' then
  redis.call('HDEL', key, 'model:' .. request.model)
else
  redis.call('HSET', key, 'model:' .. request.model, request.wanted)
end
return 'set ' .. redis.call('HINCRBY', key, 'revision', 1)
