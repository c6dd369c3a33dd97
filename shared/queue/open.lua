-- Make a model's consumer groups where they are missing, at the stream's very beginning.
--
-- request  {model, lanes}
--
-- Returns nothing. A script, so that a worker can come up at maxmemory: who else would empty the queue?

allow_at_maxmemory()
for _, lane in ipairs(request.lanes) do
  local made = redis.pcall('XGROUP', 'CREATE', stream_of(request.model, lane), group_of(lane), '0', 'MKSTREAM')
  if made.err and not made.err:find('BUSYGROUP', 1, true) then error(made.err, 0) end
end
