-- Try, on keys that nothing else uses, every command that the verbs use.
--
-- request  {name}: no other call has it
--
-- Returns '<command> <why>' for each that Redis refuses; nothing is left of the trial.

allow_at_maxmemory()
local key = prefix .. 'check:' .. request.name
local stream = key .. ':stream'
local trials = {
  {'SET', key, '1'}, {'MGET', key}, {'DEL', key},
  {'HSET', key, 'a', '1'}, {'HGET', key, 'a'}, {'HMGET', key, 'a'}, {'HGETALL', key}, {'HEXISTS', key, 'a'},
  {'HINCRBY', key, 'a', 1}, {'HDEL', key, 'b'}, {'EXISTS', key}, {'EXPIRE', key, 60}, {'PEXPIRE', key, 60000},
  {'XADD', stream, '*', 'a', '1'}, {'XGROUP', 'CREATE', stream, 'g', '0'}, {'XINFO', 'GROUPS', stream},
  {'XREAD', 'COUNT', 1, 'STREAMS', stream, '0'}, {'XREADGROUP', 'GROUP', 'g', 'c', 'COUNT', 1, 'STREAMS', stream, '>'},
  {'XPENDING', stream, 'g'}, {'XAUTOCLAIM', stream, 'g', 'c', 0, '0-0'}, {'XCLAIM', stream, 'g', 'c', 0, '0-1', 'JUSTID'},
  {'XRANGE', stream, '-', '+', 'COUNT', 1}, {'XACK', stream, 'g', '0-1'}, {'XTRIM', stream, 'MINID', '0'},
}
local refused = {}
for _, trial in ipairs(trials) do
  local ok, answer = pcall(redis.pcall, unpack(trial))
  local why = not ok and tostring(answer) or type(answer) == 'table' and answer.err
  if why then refused[#refused + 1] = trial[1] .. ' ' .. why end
end
redis.pcall('DEL', key, stream)
return refused
